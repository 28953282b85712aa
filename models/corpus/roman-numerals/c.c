// Writes numbers as Roman numerals.

#include <stdio.h>
#include <string.h>

struct numeral {
    int value;
    const char *sign;
};

static const struct numeral NUMERALS[] = {
    {1000, "M"},
    {900, "CM"},
    {500, "D"},
    {400, "CD"},
    {100, "C"},
    {90, "XC"},
    {50, "L"},
    {40, "XL"},
    {10, "X"},
    {9, "IX"},
    {5, "V"},
    {4, "IV"},
    {1, "I"},
};

// Takes the largest numeral that fits until nothing is left.
void to_roman(int number, char *roman) {
    roman[0] = '\0';
    for (size_t i = 0; i < sizeof NUMERALS / sizeof NUMERALS[0]; i++) {
        while (number >= NUMERALS[i].value) {
            strcat(roman, NUMERALS[i].sign);
            number -= NUMERALS[i].value;
        }
    }
}

// Prints six numbers and their numerals.
int main(void) {
    const int numbers[] = {4, 9, 14, 90, 1994, 2024};
    for (int i = 0; i < 6; i++) {
        char roman[20];
        to_roman(numbers[i], roman);
        printf("%d = %s\n", numbers[i], roman);
    }
    return 0;
}
