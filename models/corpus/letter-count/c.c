// Counts how often each letter occurs in a text.

#include <ctype.h>
#include <stdio.h>
#include <string.h>

// Fills 26 counts, from a to z; capitals count as small letters.
void count_letters(const char *text, int counts[26]) {
    memset(counts, 0, 26 * sizeof counts[0]);
    for (; *text != '\0'; text++) {
        int sign = tolower((unsigned char)*text);
        if (sign >= 'a' && sign <= 'z') {
            counts[sign - 'a']++;
        }
    }
}

// Prints the letters that occur at least twice.
int main(void) {
    int counts[26];
    count_letters("The quick brown fox jumps over the lazy dog again", counts);
    for (int index = 0; index < 26; index++) {
        if (counts[index] >= 2) {
            printf("%c=%d\n", 'a' + index, counts[index]);
        }
    }
    return 0;
}
