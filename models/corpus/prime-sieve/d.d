// Lists prime numbers with the sieve of Eratosthenes.

import std.stdio;

// Returns all primes from 2 up to and including limit.
int[] primesUpTo(int limit)
{
    auto isPrime = new bool[limit + 1];
    isPrime[] = true;
    int[] primes;
    foreach (number; 2 .. limit + 1)
    {
        if (isPrime[number])
        {
            primes ~= number;
            for (int multiple = number * number; multiple <= limit; multiple += number)
                isPrime[multiple] = false;
        }
    }
    return primes;
}

// Prints the primes up to three limits.
void main()
{
    foreach (limit; [10, 30, 60])
        writefln("%(%d %)", primesUpTo(limit));
}
