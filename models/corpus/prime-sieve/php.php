<?php
// Lists prime numbers with the sieve of Eratosthenes.

// Returns all primes from 2 up to and including limit.
function primesUpTo(int $limit): array
{
    $isPrime = array_fill(0, $limit + 1, true);
    $primes = [];
    for ($number = 2; $number <= $limit; $number++) {
        if ($isPrime[$number]) {
            $primes[] = $number;
            for ($multiple = $number * $number; $multiple <= $limit; $multiple += $number) {
                $isPrime[$multiple] = false;
            }
        }
    }
    return $primes;
}

// Prints the primes up to three limits.
function main(): void
{
    foreach ([10, 30, 60] as $limit) {
        echo implode(' ', primesUpTo($limit)), "\n";
    }
}

main();
