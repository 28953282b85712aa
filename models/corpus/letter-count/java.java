// Counts how often each letter occurs in a text.
class LetterCount {
    // Returns 26 counts, from a to z; capitals count as small letters.
    static int[] countLetters(String text) {
        int[] counts = new int[26];
        for (char sign : text.toLowerCase().toCharArray()) {
            if (sign >= 'a' && sign <= 'z') {
                counts[sign - 'a']++;
            }
        }
        return counts;
    }

    // Prints the letters that occur at least twice.
    public static void main(String[] args) {
        int[] counts = countLetters("The quick brown fox jumps over the lazy dog again");
        for (int index = 0; index < counts.length; index++) {
            if (counts[index] >= 2) {
                char letter = (char) ('a' + index);
                System.out.println(letter + "=" + counts[index]);
            }
        }
    }
}
