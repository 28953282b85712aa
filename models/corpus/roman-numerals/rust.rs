// Writes numbers as Roman numerals.

const NUMERALS: [(u32, &str); 13] = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
];

// Takes the largest numeral that fits until nothing is left.
fn to_roman(mut number: u32) -> String {
    let mut roman = String::new();
    for (value, numeral) in NUMERALS {
        while number >= value {
            roman += numeral;
            number -= value;
        }
    }
    roman
}

// Prints six numbers and their numerals.
fn main() {
    for number in [4, 9, 14, 90, 1994, 2024] {
        println!("{number} = {}", to_roman(number));
    }
}
