// Lists prime numbers with the sieve of Eratosthenes.

import ballerina/io;

// Returns all primes from 2 up to and including maximum.
function primesUpTo(int maximum) returns int[] {
    boolean[] isPrime = from int _ in 0 ... maximum
        select true;
    int[] primes = [];
    foreach int number in 2 ... maximum {
        if isPrime[number] {
            primes.push(number);
            int multiple = number * number;
            while multiple <= maximum {
                isPrime[multiple] = false;
                multiple += number;
            }
        }
    }
    return primes;
}

// Prints the primes up to three limits.
public function main() {
    foreach int maximum in [10, 30, 60] {
        int[] primes = primesUpTo(maximum);
        io:println(string:'join(" ", ...primes.map(prime => prime.toString())));
    }
}
