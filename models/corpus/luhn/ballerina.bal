// Checks numbers by the Luhn formula.

import ballerina/io;

// Adds the digits from the right, every second one doubled (less 9 above 9).
function luhnSum(int[] digits) returns int {
    int total = 0;
    foreach [int, int] [position, digit] in digits.reverse().enumerate() {
        int addend = digit;
        if position % 2 == 1 {
            addend *= 2;
            if addend > 9 {
                addend -= 9;
            }
        }
        total += addend;
    }
    return total;
}

// Says whether a number, spaces allowed, passes the check.
function isValid(string number) returns boolean {
    int[] digits = [];
    foreach string:Char sign in number {
        if sign == " " {
            continue;
        }
        int|error digit = int:fromString(sign);
        if digit is error {
            return false;
        }
        digits.push(digit);
    }
    return digits.length() >= 2 && luhnSum(digits) % 10 == 0;
}

// Checks five numbers.
public function main() {
    foreach string number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"] {
        string verdict = isValid(number) ? "valid" : "invalid";
        io:println(string `${number} ${verdict}`);
    }
}
