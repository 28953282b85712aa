// Writes runs of equal letters as a count and the letter, and reads them back.

#include <ctype.h>
#include <stdio.h>

#define SIZE 100

// Turns each run of equal letters into its length and the letter.
void encode(const char *text, char *code) {
    while (*text != '\0') {
        const char *end = text;
        while (*end == *text) {
            end++;
        }
        code += sprintf(code, "%d%c", (int)(end - text), *text);
        text = end;
    }
    *code = '\0';
}

// Repeats each letter as often as the count before it says.
void decode(const char *code, char *text) {
    int count = 0;
    for (; *code != '\0'; code++) {
        if (isdigit((unsigned char)*code)) {
            count = count * 10 + (*code - '0');
        } else {
            for (; count > 0; count--) {
                *text++ = *code;
            }
        }
    }
    *text = '\0';
}

// Encodes and decodes three texts.
int main(void) {
    const char *texts[] = {"aaaabbc", "wwwwwwwwwwwwb", "abc"};
    for (int i = 0; i < 3; i++) {
        char code[SIZE];
        char decoded[SIZE];
        encode(texts[i], code);
        decode(code, decoded);
        printf("%s -> %s -> %s\n", texts[i], code, decoded);
    }
    return 0;
}
