// Checks numbers by the Luhn formula.

// Adds the digits from the right, every second one doubled (less 9 above 9).
int luhn_sum (int[] digits) {
    int total = 0;
    for (int position = 0; position < digits.length; position++) {
        int digit = digits[digits.length - 1 - position];
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
bool is_valid (string number) {
    int[] digits = {};
    for (int i = 0; i < number.length; i++) {
        char sign = number[i];
        if (sign == ' ') {
            continue;
        }
        if (!sign.isdigit ()) {
            return false;
        }
        digits += sign.digit_value ();
    }
    return digits.length >= 2 && luhn_sum (digits) % 10 == 0;
}

// Checks five numbers.
void main () {
    string[] numbers = { "4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9" };
    foreach (unowned string number in numbers) {
        string verdict = is_valid (number) ? "valid" : "invalid";
        print ("%s %s\n", number, verdict);
    }
}
