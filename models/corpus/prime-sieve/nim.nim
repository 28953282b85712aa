# Lists prime numbers with the sieve of Eratosthenes.

import std/[sequtils, strutils]

# Returns all primes from 2 up to and including limit.
func primesUpTo(limit: int): seq[int] =
  var isPrime = newSeqWith(limit + 1, true)
  for number in 2..limit:
    if isPrime[number]:
      result.add(number)
      for multiple in countup(number * number, limit, number):
        isPrime[multiple] = false

# Prints the primes up to three limits.
when isMainModule:
  for limit in [10, 30, 60]:
    echo primesUpTo(limit).join(" ")
