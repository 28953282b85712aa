// Finds numbers in a sorted list by halving the range that may hold them.

import ballerina/io;

// Returns the index of target in the sorted values, or -1.
function binarySearch(int[] values, int target) returns int {
    int low = 0;
    int high = values.length() - 1;
    while low <= high {
        int middle = (low + high) / 2;
        if values[middle] == target {
            return middle;
        }
        if values[middle] < target {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return -1;
}

// Searches for five numbers, some of them absent.
public function main() {
    int[] values = [1, 3, 4, 6, 8, 9, 11, 15, 22];
    foreach int target in [6, 1, 22, 13, 0] {
        int index = binarySearch(values, target);
        if index >= 0 {
            io:println(string `${target} at ${index}`);
        } else {
            io:println(string `${target} not found`);
        }
    }
}
