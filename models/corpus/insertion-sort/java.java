// Sorts lists of numbers by insertion.

import java.util.Arrays;
import java.util.stream.Collectors;

class InsertionSort {
    // Moves each value left past all larger ones, in place.
    static void insertionSort(int[] values) {
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

    // Sorts three lists and prints them.
    public static void main(String[] args) {
        int[][] lists = {{5, 2, 9, 1, 5, 6}, {3}, {10, -2, 7, 0, -5}};
        for (int[] values : lists) {
            insertionSort(values);
            System.out.println(Arrays.stream(values).mapToObj(String::valueOf).collect(Collectors.joining(" ")));
        }
    }
}
