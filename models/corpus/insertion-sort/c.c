// Sorts lists of numbers by insertion.

#include <stdio.h>

// Moves each value left past all larger ones, in place.
void insertion_sort(int *values, int length) {
    for (int i = 1; i < length; i++) {
        int value = values[i];
        int j = i;
        while (j > 0 && values[j - 1] > value) {
            values[j] = values[j - 1];
            j--;
        }
        values[j] = value;
    }
}

// Sorts a list and prints it.
void sort_and_print(int *values, int length) {
    insertion_sort(values, length);
    for (int i = 0; i < length; i++) {
        printf(i > 0 ? " %d" : "%d", values[i]);
    }
    printf("\n");
}

// Sorts three lists and prints them.
int main(void) {
    int first[] = {5, 2, 9, 1, 5, 6};
    int second[] = {3};
    int third[] = {10, -2, 7, 0, -5};
    sort_and_print(first, 6);
    sort_and_print(second, 1);
    sort_and_print(third, 5);
    return 0;
}
