<?php
// Sorts lists of numbers by insertion.

// Moves each value left past all larger ones, in place.
function insertionSort(array &$values): void
{
    for ($i = 1; $i < count($values); $i++) {
        $value = $values[$i];
        $j = $i;
        while ($j > 0 && $values[$j - 1] > $value) {
            $values[$j] = $values[$j - 1];
            $j--;
        }
        $values[$j] = $value;
    }
}

// Sorts three lists and prints them.
function main(): void
{
    foreach ([[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]] as $values) {
        insertionSort($values);
        echo implode(' ', $values), "\n";
    }
}

main();
