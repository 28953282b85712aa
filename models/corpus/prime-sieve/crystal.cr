# Lists prime numbers with the sieve of Eratosthenes.

# Returns all primes from 2 up to and including limit.
def primes_up_to(limit : Int32) : Array(Int32)
  is_prime = Array.new(limit + 1, true)
  primes = [] of Int32
  (2..limit).each do |number|
    next unless is_prime[number]
    primes << number
    (number * number).step(to: limit, by: number) do |multiple|
      is_prime[multiple] = false
    end
  end
  primes
end

# Prints the primes up to three limits.
[10, 30, 60].each do |limit|
  puts primes_up_to(limit).join(" ")
end
