// Checks numbers by the Luhn formula.

#include <iostream>
#include <string>
#include <vector>

// Adds the digits from the right, every second one doubled (less 9 above 9).
int luhn_sum(const std::vector<int>& digits) {
    int total = 0;
    for (std::size_t position = 0; position < digits.size(); ++position) {
        int digit = digits[digits.size() - 1 - position];
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
bool is_valid(const std::string& number) {
    std::vector<int> digits;
    for (char sign : number) {
        if (sign == ' ') {
            continue;
        }
        if (sign < '0' || sign > '9') {
            return false;
        }
        digits.push_back(sign - '0');
    }
    return digits.size() >= 2 && luhn_sum(digits) % 10 == 0;
}

// Checks five numbers.
int main() {
    for (const std::string number : {"4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"}) {
        std::cout << number << (is_valid(number) ? " valid" : " invalid") << '\n';
    }
}
