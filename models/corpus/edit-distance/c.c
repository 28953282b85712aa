// Measures how many edits turn one word into another.

#include <stdio.h>
#include <string.h>

#define SIZE 50

// Returns the smaller of two numbers.
int min(int a, int b) {
    return a < b ? a : b;
}

// Levenshtein distance, with the last and the current row of the table only.
int edit_distance(const char *a, const char *b) {
    int a_length = strlen(a);
    int b_length = strlen(b);
    int last[SIZE];
    int row[SIZE];
    for (int j = 0; j <= b_length; j++) {
        last[j] = j;
    }
    for (int i = 1; i <= a_length; i++) {
        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row[j] = min(min(last[j] + 1, row[j - 1] + 1), last[j - 1] + cost);
        }
        memcpy(last, row, sizeof row);
    }
    return last[b_length];
}

// Shows an empty word as a pair of quotes.
const char *show(const char *word) {
    return *word != '\0' ? word : "\"\"";
}

// Compares four pairs of words.
int main(void) {
    const char *pairs[][2] = {{"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}};
    for (int i = 0; i < 4; i++) {
        const char *a = pairs[i][0];
        const char *b = pairs[i][1];
        printf("%s %s %d\n", show(a), show(b), edit_distance(a, b));
    }
    return 0;
}
