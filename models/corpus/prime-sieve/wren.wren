// Lists prime numbers with the sieve of Eratosthenes.

class Primes {
  // Returns all primes from 2 up to and including limit.
  static primesUpTo(limit) {
    var isPrime = List.filled(limit + 1, true)
    var primes = []
    for (number in 2..limit) {
      if (isPrime[number]) {
        primes.add(number)
        var multiple = number * number
        while (multiple <= limit) {
          isPrime[multiple] = false
          multiple = multiple + number
        }
      }
    }
    return primes
  }
}

// Prints the primes up to three limits.
for (limit in [10, 30, 60]) {
  System.print(Primes.primesUpTo(limit).join(" "))
}
