// Finds numbers in a sorted list by halving the range that may hold them.

#include <iostream>
#include <vector>

// Returns the index of target in the sorted values, or -1.
int binary_search(const std::vector<int>& values, int target) {
    int low = 0;
    int high = static_cast<int>(values.size()) - 1;
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
int main() {
    const std::vector<int> values{1, 3, 4, 6, 8, 9, 11, 15, 22};
    for (int target : {6, 1, 22, 13, 0}) {
        int index = binary_search(values, target);
        if (index >= 0) {
            std::cout << target << " at " << index << '\n';
        } else {
            std::cout << target << " not found\n";
        }
    }
}
