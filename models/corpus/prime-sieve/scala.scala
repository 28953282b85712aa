// Lists prime numbers with the sieve of Eratosthenes.

import scala.collection.mutable.ListBuffer

object PrimeSieve {
  // Returns all primes from 2 up to and including limit.
  def primesUpTo(limit: Int): List[Int] = {
    val isPrime = Array.fill(limit + 1)(true)
    val primes = ListBuffer[Int]()
    for (number <- 2 to limit) {
      if (isPrime(number)) {
        primes += number
        for (multiple <- number * number to limit by number) {
          isPrime(multiple) = false
        }
      }
    }
    primes.toList
  }

  // Prints the primes up to three limits.
  def main(args: Array[String]): Unit = {
    for (limit <- List(10, 30, 60)) {
      println(primesUpTo(limit).mkString(" "))
    }
  }
}
