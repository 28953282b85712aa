// Checks numbers by the Luhn formula.

#include <stdbool.h>
#include <stdio.h>

// Adds the digits from the right, every second one doubled (less 9 above 9).
int luhn_sum(const int *digits, int length) {
    int total = 0;
    for (int position = 0; position < length; position++) {
        int digit = digits[length - 1 - position];
        if (position % 2 == 1) {
            digit *= 2;
            if (digit > 9) {
                digit -= 9;
            }
        }
        total += digit;
    }
    return total;
}

// Says whether a number, spaces allowed, passes the check.
bool is_valid(const char *number) {
    int digits[50];
    int length = 0;
    for (; *number != '\0'; number++) {
        if (*number == ' ') {
            continue;
        }
        if (*number < '0' || *number > '9') {
            return false;
        }
        digits[length++] = *number - '0';
    }
    return length >= 2 && luhn_sum(digits, length) % 10 == 0;
}

// Checks five numbers.
int main(void) {
    const char *numbers[] = {"4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"};
    for (int i = 0; i < 5; i++) {
        const char *verdict = is_valid(numbers[i]) ? "valid" : "invalid";
        printf("%s %s\n", numbers[i], verdict);
    }
    return 0;
}
