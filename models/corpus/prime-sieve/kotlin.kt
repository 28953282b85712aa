// Lists prime numbers with the sieve of Eratosthenes.

// Returns all primes from 2 up to and including limit.
fun primesUpTo(limit: Int): List<Int> {
    val isPrime = BooleanArray(limit + 1) { true }
    val primes = mutableListOf<Int>()
    for (number in 2..limit) {
        if (isPrime[number]) {
            primes.add(number)
            for (multiple in number * number..limit step number) {
                isPrime[multiple] = false
            }
        }
    }
    return primes
}

// Prints the primes up to three limits.
fun main() {
    for (limit in listOf(10, 30, 60)) {
        println(primesUpTo(limit).joinToString(" "))
    }
}
