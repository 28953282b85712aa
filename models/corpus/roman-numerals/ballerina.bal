// Writes numbers as Roman numerals.

import ballerina/io;

final readonly & [int, string][] numerals = [
    [1000, "M"],
    [900, "CM"],
    [500, "D"],
    [400, "CD"],
    [100, "C"],
    [90, "XC"],
    [50, "L"],
    [40, "XL"],
    [10, "X"],
    [9, "IX"],
    [5, "V"],
    [4, "IV"],
    [1, "I"]
];

// Takes the largest numeral that fits until nothing is left.
function toRoman(int number) returns string {
    int rest = number;
    string roman = "";
    foreach [int, string] [value, numeral] in numerals {
        while rest >= value {
            roman += numeral;
            rest -= value;
        }
    }
    return roman;
}

// Prints six numbers and their numerals.
public function main() {
    foreach int number in [4, 9, 14, 90, 1994, 2024] {
        io:println(string `${number} = ${toRoman(number)}`);
    }
}
