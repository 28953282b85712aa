# Lists prime numbers with the sieve of Eratosthenes.

# Returns all primes from 2 up to and including limit.
def primes_up_to(limit)
  is_prime = Array.new(limit + 1, true)
  primes = []
  (2..limit).each do |number|
    next unless is_prime[number]

    primes << number
    (number * number).step(limit, number) { |multiple| is_prime[multiple] = false }
  end
  primes
end

# Prints the primes up to three limits.
def main
  [10, 30, 60].each do |limit|
    puts primes_up_to(limit).join(" ")
  end
end

main
