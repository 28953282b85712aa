// Finds numbers in a sorted list by halving the range that may hold them.

// Returns the index of target in the sorted values, or -1.
int binary_search (int[] values, int target) {
    int low = 0;
    int high = values.length - 1;
    while (low <= high) {
        int middle = (low + high) / 2;
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
void main () {
    int[] values = { 1, 3, 4, 6, 8, 9, 11, 15, 22 };
    foreach (int target in new int[] { 6, 1, 22, 13, 0 }) {
        int index = binary_search (values, target);
        if (index >= 0) {
            print ("%d at %d\n", target, index);
        } else {
            print ("%d not found\n", target);
        }
    }
}
