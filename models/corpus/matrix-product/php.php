<?php
// Multiplies two matrices.

// Returns the product of a and b, row by row.
function multiply(array $a, array $b): array
{
    $rows = count($a);
    $inner = count($b);
    $columns = count($b[0]);
    $product = array_fill(0, $rows, array_fill(0, $columns, 0));
    for ($i = 0; $i < $rows; $i++) {
        for ($j = 0; $j < $columns; $j++) {
            for ($k = 0; $k < $inner; $k++) {
                $product[$i][$j] += $a[$i][$k] * $b[$k][$j];
            }
        }
    }
    return $product;
}

// Prints one row a line, its numbers joined by spaces.
function printMatrix(array $matrix): void
{
    foreach ($matrix as $row) {
        echo implode(' ', $row), "\n";
    }
}

// Multiplies the matrices in both orders.
function main(): void
{
    $a = [[1, 2, 3], [4, 5, 6]];
    $b = [[7, 8], [9, 10], [11, 12]];
    printMatrix(multiply($a, $b));
    printMatrix(multiply($b, $a));
}

main();
