// Sorts lists of numbers by insertion.

import std.stdio;

// Moves each value left past all larger ones, in place.
void insertionSort(int[] values)
{
    foreach (i; 1 .. values.length)
    {
        const value = values[i];
        auto j = i;
        while (j > 0 && values[j - 1] > value)
        {
            values[j] = values[j - 1];
            j--;
        }
        values[j] = value;
    }
}

// Sorts three lists and prints them.
void main()
{
    foreach (values; [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]])
    {
        insertionSort(values);
        writefln("%(%d %)", values);
    }
}
