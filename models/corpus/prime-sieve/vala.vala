// Lists prime numbers with the sieve of Eratosthenes.

// Returns all primes from 2 up to and including limit.
int[] primes_up_to (int limit) {
    bool[] is_composite = new bool[limit + 1];
    int[] primes = {};
    for (int number = 2; number <= limit; number++) {
        if (!is_composite[number]) {
            primes += number;
            for (int multiple = number * number; multiple <= limit; multiple += number) {
                is_composite[multiple] = true;
            }
        }
    }
    return primes;
}

// Prints the primes up to three limits.
void main () {
    foreach (int limit in new int[] { 10, 30, 60 }) {
        string[] words = {};
        foreach (int prime in primes_up_to (limit)) {
            words += prime.to_string ();
        }
        print ("%s\n", string.joinv (" ", words));
    }
}
