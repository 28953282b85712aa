// Lists prime numbers with the sieve of Eratosthenes.

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

// Fills primes with all primes from 2 up to and including limit; returns how many.
int primes_up_to(int limit, int *primes) {
    bool *is_composite = calloc(limit + 1, sizeof *is_composite);
    int count = 0;
    for (int number = 2; number <= limit; number++) {
        if (!is_composite[number]) {
            primes[count++] = number;
            for (int multiple = number * number; multiple <= limit; multiple += number) {
                is_composite[multiple] = true;
            }
        }
    }
    free(is_composite);
    return count;
}

// Prints the primes up to three limits.
int main(void) {
    const int limits[] = {10, 30, 60};
    for (int i = 0; i < 3; i++) {
        int primes[60];
        int count = primes_up_to(limits[i], primes);
        for (int j = 0; j < count; j++) {
            printf(j > 0 ? " %d" : "%d", primes[j]);
        }
        printf("\n");
    }
    return 0;
}
