# Lists prime numbers with the sieve of Eratosthenes.

# Returns all primes from 2 up to and including limit.
(defn primes-up-to [limit]
  (def is-prime (array/new-filled (inc limit) true))
  (def primes @[])
  (loop [number :range-to [2 limit] :when (in is-prime number)]
    (array/push primes number)
    (loop [multiple :range-to [(* number number) limit number]]
      (put is-prime multiple false)))
  primes)

# Prints the primes up to three limits.
(defn main [&]
  (each limit [10 30 60]
    (print (string/join (map string (primes-up-to limit)) " "))))
