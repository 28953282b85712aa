// Measures how many edits turn one word into another.
class EditDistance {
    // Levenshtein distance, with the last and the current row of the table only.
    static int editDistance(String a, String b) {
        int[] last = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            last[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int[] row = new int[b.length() + 1];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int cost = a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1;
                row[j] = Math.min(Math.min(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
            }
            last = row;
        }
        return last[b.length()];
    }

    // Shows an empty word as a pair of quotes.
    static String show(String word) {
        return word.isEmpty() ? "\"\"" : word;
    }

    // Compares four pairs of words.
    public static void main(String[] args) {
        String[][] pairs = {{"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}};
        for (String[] pair : pairs) {
            String a = pair[0];
            String b = pair[1];
            System.out.println(show(a) + " " + show(b) + " " + editDistance(a, b));
        }
    }
}
