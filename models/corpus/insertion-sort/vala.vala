// Sorts lists of numbers by insertion.

// Moves each value left past all larger ones, in place.
void insertion_sort (int[] values) {
    for (int i = 1; i < values.length; i++) {
        int value = values[i];
        int j = i;
        while (j > 0 && values[j - 1] > value) {
            values[j] = values[j - 1];
            j--;
        }
        values[j] = value;
    }
}

// Prints numbers in one line, joined by spaces.
void print_numbers (int[] numbers) {
    string[] words = {};
    foreach (int number in numbers) {
        words += number.to_string ();
    }
    print ("%s\n", string.joinv (" ", words));
}

// Sorts three lists and prints them.
void main () {
    int[] first = { 5, 2, 9, 1, 5, 6 };
    int[] second = { 3 };
    int[] third = { 10, -2, 7, 0, -5 };
    insertion_sort (first);
    insertion_sort (second);
    insertion_sort (third);
    print_numbers (first);
    print_numbers (second);
    print_numbers (third);
}
