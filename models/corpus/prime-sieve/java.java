// Lists prime numbers with the sieve of Eratosthenes.

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

class PrimeSieve {
    // Returns all primes from 2 up to and including limit.
    static List<Integer> primesUpTo(int limit) {
        boolean[] isPrime = new boolean[limit + 1];
        Arrays.fill(isPrime, true);
        List<Integer> primes = new ArrayList<>();
        for (int number = 2; number <= limit; number++) {
            if (isPrime[number]) {
                primes.add(number);
                for (int multiple = number * number; multiple <= limit; multiple += number) {
                    isPrime[multiple] = false;
                }
            }
        }
        return primes;
    }

    // Prints the primes up to three limits.
    public static void main(String[] args) {
        for (int limit : new int[] {10, 30, 60}) {
            System.out.println(primesUpTo(limit).stream().map(String::valueOf).collect(Collectors.joining(" ")));
        }
    }
}
