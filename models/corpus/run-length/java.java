// Writes runs of equal letters as a count and the letter, and reads them back.
class RunLength {
    // Turns each run of equal letters into its length and the letter.
    static String encode(String text) {
        StringBuilder code = new StringBuilder();
        int start = 0;
        while (start < text.length()) {
            int end = start;
            while (end < text.length() && text.charAt(end) == text.charAt(start)) {
                end++;
            }
            code.append(end - start).append(text.charAt(start));
            start = end;
        }
        return code.toString();
    }

    // Repeats each letter as often as the count before it says.
    static String decode(String code) {
        StringBuilder text = new StringBuilder();
        int count = 0;
        for (char sign : code.toCharArray()) {
            if (Character.isDigit(sign)) {
                count = count * 10 + Character.getNumericValue(sign);
            } else {
                text.append(String.valueOf(sign).repeat(count));
                count = 0;
            }
        }
        return text.toString();
    }

    // Encodes and decodes three texts.
    public static void main(String[] args) {
        for (String text : new String[] {"aaaabbc", "wwwwwwwwwwwwb", "abc"}) {
            String code = encode(text);
            System.out.println(text + " -> " + code + " -> " + decode(code));
        }
    }
}
