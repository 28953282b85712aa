<?php
// Finds numbers in a sorted list by halving the range that may hold them.

// Returns the index of target in the sorted values, or -1.
function binarySearch(array $values, int $target): int
{
    $low = 0;
    $high = count($values) - 1;
    while ($low <= $high) {
        $middle = intdiv($low + $high, 2);
        if ($values[$middle] === $target) {
            return $middle;
        }
        if ($values[$middle] < $target) {
            $low = $middle + 1;
        } else {
            $high = $middle - 1;
        }
    }
    return -1;
}

// Searches for five numbers, some of them absent.
function main(): void
{
    $values = [1, 3, 4, 6, 8, 9, 11, 15, 22];
    foreach ([6, 1, 22, 13, 0] as $target) {
        $index = binarySearch($values, $target);
        if ($index >= 0) {
            echo "$target at $index\n";
        } else {
            echo "$target not found\n";
        }
    }
}

main();
