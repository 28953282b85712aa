// Sorts lists of numbers by insertion.

#include <iostream>
#include <vector>

// Moves each value left past all larger ones, in place.
void insertion_sort(std::vector<int>& values) {
    for (std::size_t i = 1; i < values.size(); ++i) {
        int value = values[i];
        std::size_t j = i;
        while (j > 0 && values[j - 1] > value) {
            values[j] = values[j - 1];
            --j;
        }
        values[j] = value;
    }
}

// Sorts three lists and prints them.
int main() {
    std::vector<std::vector<int>> lists{{5, 2, 9, 1, 5, 6}, {3}, {10, -2, 7, 0, -5}};
    for (auto& values : lists) {
        insertion_sort(values);
        const char* separator = "";
        for (int value : values) {
            std::cout << separator << value;
            separator = " ";
        }
        std::cout << '\n';
    }
}
