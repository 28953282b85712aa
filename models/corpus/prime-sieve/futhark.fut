-- Lists prime numbers with the sieve of Eratosthenes.

-- Returns all primes from 2 up to and including limit.
def primes_up_to (limit: i64) : []i64 =
  let is_prime =
    loop (is_prime: *[limit + 1]bool) = replicate (limit + 1) true for number in 2...limit do
      if is_prime[number]
      then let count = i64.max 0 (limit / number - number + 1)
           let multiples = map (\k -> number * (number + k)) (iota count)
           in scatter is_prime multiples (replicate count false)
      else is_prime
  in filter (\number -> is_prime[number]) (2...limit)

-- Lists the primes up to three limits.
entry primes_up_to_10 = primes_up_to 10
entry primes_up_to_30 = primes_up_to 30
entry primes_up_to_60 = primes_up_to 60
