// Counts how often each letter occurs in a text.

// Returns 26 counts, from a to z; capitals count as small letters.
int[] count_letters (string text) {
    int[] counts = new int[26];
    string small = text.down ();
    for (int i = 0; i < small.length; i++) {
        char sign = small[i];
        if (sign.islower ()) {
            counts[sign - 'a']++;
        }
    }
    return counts;
}

// Prints the letters that occur at least twice.
void main () {
    int[] counts = count_letters ("The quick brown fox jumps over the lazy dog again");
    for (int index = 0; index < counts.length; index++) {
        if (counts[index] >= 2) {
            print ("%c=%d\n", 'a' + index, counts[index]);
        }
    }
}
