// Writes numbers as Roman numerals.

import std.stdio;

struct Numeral
{
    int value;
    string letters;
}

immutable Numeral[] numerals = [
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
];

// Takes the largest numeral that fits until nothing is left.
string toRoman(int number)
{
    string roman;
    foreach (numeral; numerals)
    {
        while (number >= numeral.value)
        {
            roman ~= numeral.letters;
            number -= numeral.value;
        }
    }
    return roman;
}

// Prints six numbers and their numerals.
void main()
{
    foreach (number; [4, 9, 14, 90, 1994, 2024])
        writefln("%d = %s", number, toRoman(number));
}
