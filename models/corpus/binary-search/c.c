// Finds numbers in a sorted list by halving the range that may hold them.

#include <stdio.h>

// Returns the index of target in the sorted values, or -1.
int binary_search(const int *values, int length, int target) {
    int low = 0;
    int high = length - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        if (values[middle] == target) {
            return middle;
        }
        if (values[middle] < target) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return -1;
}

// Searches for five numbers, some of them absent.
int main(void) {
    const int values[] = {1, 3, 4, 6, 8, 9, 11, 15, 22};
    const int length = sizeof values / sizeof values[0];
    const int targets[] = {6, 1, 22, 13, 0};
    for (int i = 0; i < 5; i++) {
        int index = binary_search(values, length, targets[i]);
        if (index >= 0) {
            printf("%d at %d\n", targets[i], index);
        } else {
            printf("%d not found\n", targets[i]);
        }
    }
    return 0;
}
