// Encrypts and decrypts texts with the Caesar cipher.

#include <stdio.h>

// Moves a letter key places on in the alphabet; other signs stay.
char shift(char letter, int key) {
    char first;
    if (letter >= 'a' && letter <= 'z') {
        first = 'a';
    } else if (letter >= 'A' && letter <= 'Z') {
        first = 'A';
    } else {
        return letter;
    }
    return (letter - first + key) % 26 + first;
}

// Shifts every letter of the text.
void caesar(const char *text, int key, char *result) {
    while (*text != '\0') {
        *result++ = shift(*text++, key);
    }
    *result = '\0';
}

// Encrypts two texts and decrypts them again.
int main(void) {
    const char *texts[] = {"Hello, World!", "Pack my box."};
    const int keys[] = {3, 13};
    for (int i = 0; i < 2; i++) {
        char secret[50];
        char plain[50];
        caesar(texts[i], keys[i], secret);
        puts(secret);
        caesar(secret, 26 - keys[i], plain);
        puts(plain);
    }
    return 0;
}
