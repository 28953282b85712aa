<?php
// Checks numbers by the Luhn formula.

// Adds the digits from the right, every second one doubled (less 9 above 9).
function luhnSum(array $digits): int
{
    $total = 0;
    foreach (array_reverse($digits) as $position => $digit) {
        if ($position % 2 === 1) {
            $digit *= 2;
            if ($digit > 9) {
                $digit -= 9;
            }
        }
        $total += $digit;
    }
    return $total;
}

// Says whether a number, spaces allowed, passes the check.
function isValid(string $number): bool
{
    $digits = [];
    foreach (str_split($number) as $sign) {
        if ($sign === ' ') {
            continue;
        }
        if (!ctype_digit($sign)) {
            return false;
        }
        $digits[] = (int) $sign;
    }
    return count($digits) >= 2 && luhnSum($digits) % 10 === 0;
}

// Checks five numbers.
function main(): void
{
    foreach (['4539 3195 0343 6467', '8273 1232 7352 0569', '0', '059', '05a9'] as $number) {
        $verdict = isValid($number) ? 'valid' : 'invalid';
        echo "$number $verdict\n";
    }
}

main();
