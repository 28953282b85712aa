// Writes numbers as Roman numerals.
class RomanNumerals {
    record Numeral(int value, String sign) {}

    static final Numeral[] NUMERALS = {
        new Numeral(1000, "M"),
        new Numeral(900, "CM"),
        new Numeral(500, "D"),
        new Numeral(400, "CD"),
        new Numeral(100, "C"),
        new Numeral(90, "XC"),
        new Numeral(50, "L"),
        new Numeral(40, "XL"),
        new Numeral(10, "X"),
        new Numeral(9, "IX"),
        new Numeral(5, "V"),
        new Numeral(4, "IV"),
        new Numeral(1, "I"),
    };

    // Takes the largest numeral that fits until nothing is left.
    static String toRoman(int number) {
        StringBuilder roman = new StringBuilder();
        for (Numeral numeral : NUMERALS) {
            while (number >= numeral.value()) {
                roman.append(numeral.sign());
                number -= numeral.value();
            }
        }
        return roman.toString();
    }

    // Prints six numbers and their numerals.
    public static void main(String[] args) {
        for (int number : new int[] {4, 9, 14, 90, 1994, 2024}) {
            System.out.println(number + " = " + toRoman(number));
        }
    }
}
