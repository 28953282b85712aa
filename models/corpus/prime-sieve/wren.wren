// Lists the primes up to a few limits with the sieve of Eratosthenes.

class Primes {
  // Returns all primes up to and including the limit.
  static primesUpTo(limit) {
    var isPrime = List.filled(limit + 1, true)
    var primes = []
    for (number in 2..limit) {
      if (!isPrime[number]) continue
      primes.add(number)
      var multiple = number * number
      while (multiple <= limit) {
        isPrime[multiple] = false
        multiple = multiple + number
      }
    }
    return primes
  }
}

for (limit in [10, 30, 60]) {
  System.print(Primes.primesUpTo(limit).join(" "))
}
