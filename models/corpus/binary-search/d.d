// Finds numbers in a sorted list by halving the range that may hold them.

import std.stdio;

// Returns the index of target in the sorted values, or -1.
int binarySearch(const int[] values, int target)
{
    int low = 0;
    int high = cast(int) values.length - 1;
    while (low <= high)
    {
        const middle = (low + high) / 2;
        if (values[middle] == target)
            return middle;
        if (values[middle] < target)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

// Searches for five numbers, some of them absent.
void main()
{
    const values = [1, 3, 4, 6, 8, 9, 11, 15, 22];
    foreach (target; [6, 1, 22, 13, 0])
    {
        const index = binarySearch(values, target);
        if (index >= 0)
            writefln("%d at %d", target, index);
        else
            writefln("%d not found", target);
    }
}
