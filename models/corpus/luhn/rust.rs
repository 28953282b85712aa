// Checks numbers by the Luhn formula.

// Adds the digits from the right, every second one doubled (less 9 above 9).
fn luhn_sum(digits: &[u32]) -> u32 {
    let mut total = 0;
    for (position, &digit) in digits.iter().rev().enumerate() {
        let mut digit = digit;
        if position % 2 == 1 {
            digit *= 2;
            if digit > 9 {
                digit -= 9;
            }
        }
        total += digit;
    }
    total
}

// Says whether a number, spaces allowed, passes the check.
fn is_valid(number: &str) -> bool {
    let mut digits = Vec::new();
    for sign in number.chars() {
        if sign == ' ' {
            continue;
        }
        match sign.to_digit(10) {
            Some(digit) => digits.push(digit),
            None => return false,
        }
    }
    digits.len() >= 2 && luhn_sum(&digits) % 10 == 0
}

// Checks five numbers.
fn main() {
    for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"] {
        let verdict = if is_valid(number) { "valid" } else { "invalid" };
        println!("{number} {verdict}");
    }
}
