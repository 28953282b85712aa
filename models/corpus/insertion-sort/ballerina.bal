// Sorts lists of numbers by insertion.

import ballerina/io;

// Moves each value left past all larger ones, in place.
function insertionSort(int[] values) {
    foreach int i in 1 ..< values.length() {
        int value = values[i];
        int j = i;
        while j > 0 && values[j - 1] > value {
            values[j] = values[j - 1];
            j -= 1;
        }
        values[j] = value;
    }
}

// Sorts three lists and prints them.
public function main() {
    int[][] lists = [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]];
    foreach int[] values in lists {
        insertionSort(values);
        io:println(string:'join(" ", ...values.map(value => value.toString())));
    }
}
