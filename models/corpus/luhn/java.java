// Checks numbers by the Luhn formula.

import java.util.ArrayList;
import java.util.List;

class Luhn {
    // Adds the digits from the right, every second one doubled (less 9 above 9).
    static int luhnSum(List<Integer> digits) {
        int total = 0;
        for (int position = 0; position < digits.size(); position++) {
            int digit = digits.get(digits.size() - 1 - position);
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
    static boolean isValid(String number) {
        List<Integer> digits = new ArrayList<>();
        for (char sign : number.toCharArray()) {
            if (sign == ' ') {
                continue;
            }
            if (sign < '0' || sign > '9') {
                return false;
            }
            digits.add(sign - '0');
        }
        return digits.size() >= 2 && luhnSum(digits) % 10 == 0;
    }

    // Checks five numbers.
    public static void main(String[] args) {
        String[] numbers = {"4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"};
        for (String number : numbers) {
            String verdict = isValid(number) ? "valid" : "invalid";
            System.out.println(number + " " + verdict);
        }
    }
}
