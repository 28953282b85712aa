<?php
// Writes numbers as Roman numerals.

const NUMERALS = [
    1000 => 'M',
    900 => 'CM',
    500 => 'D',
    400 => 'CD',
    100 => 'C',
    90 => 'XC',
    50 => 'L',
    40 => 'XL',
    10 => 'X',
    9 => 'IX',
    5 => 'V',
    4 => 'IV',
    1 => 'I',
];

// Takes the largest numeral that fits until nothing is left.
function toRoman(int $number): string
{
    $roman = '';
    foreach (NUMERALS as $value => $numeral) {
        while ($number >= $value) {
            $roman .= $numeral;
            $number -= $value;
        }
    }
    return $roman;
}

// Prints six numbers and their numerals.
function main(): void
{
    foreach ([4, 9, 14, 90, 1994, 2024] as $number) {
        echo $number, ' = ', toRoman($number), "\n";
    }
}

main();
