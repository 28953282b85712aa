// Writes numbers as Roman numerals.

struct Numeral {
    int value;
    string letters;
}

const Numeral[] NUMERALS = {
    { 1000, "M" },
    { 900, "CM" },
    { 500, "D" },
    { 400, "CD" },
    { 100, "C" },
    { 90, "XC" },
    { 50, "L" },
    { 40, "XL" },
    { 10, "X" },
    { 9, "IX" },
    { 5, "V" },
    { 4, "IV" },
    { 1, "I" }
};

// Takes the largest numeral that fits until nothing is left.
string to_roman (int number) {
    int rest = number;
    string roman = "";
    foreach (Numeral numeral in NUMERALS) {
        while (rest >= numeral.value) {
            roman += numeral.letters;
            rest -= numeral.value;
        }
    }
    return roman;
}

// Prints six numbers and their numerals.
void main () {
    foreach (int number in new int[] { 4, 9, 14, 90, 1994, 2024 }) {
        print ("%d = %s\n", number, to_roman (number));
    }
}
