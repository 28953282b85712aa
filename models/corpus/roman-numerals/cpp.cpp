// Writes numbers as Roman numerals.

#include <iostream>
#include <string>
#include <utility>
#include <vector>

const std::vector<std::pair<int, std::string>> NUMERALS{
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
std::string to_roman(int number) {
    std::string roman;
    for (const auto& [value, numeral] : NUMERALS) {
        while (number >= value) {
            roman += numeral;
            number -= value;
        }
    }
    return roman;
}

// Prints six numbers and their numerals.
int main() {
    for (int number : {4, 9, 14, 90, 1994, 2024}) {
        std::cout << number << " = " << to_roman(number) << '\n';
    }
}
