// Measures how many edits turn one word into another.

// Levenshtein distance, with the last and the current row of the table only.
int edit_distance (string a, string b) {
    int[] last = {};
    for (int j = 0; j <= b.length; j++) {
        last += j;
    }
    for (int i = 1; i <= a.length; i++) {
        int[] row = { i };
        for (int j = 1; j <= b.length; j++) {
            int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row += int.min (int.min (last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
        }
        last = row;
    }
    return last[b.length];
}

// Shows an empty word as a pair of quotes.
string show (string word) {
    return word != "" ? word : "\"\"";
}

// Compares four pairs of words.
void main () {
    string[,] pairs = {
        { "kitten", "sitting" },
        { "flaw", "lawn" },
        { "", "abc" },
        { "gumbo", "gambol" }
    };
    for (int i = 0; i < pairs.length[0]; i++) {
        string a = pairs[i, 0];
        string b = pairs[i, 1];
        print ("%s %s %d\n", show (a), show (b), edit_distance (a, b));
    }
}
