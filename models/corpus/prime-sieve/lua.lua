-- Lists prime numbers with the sieve of Eratosthenes.

-- Returns all primes from 2 up to and including limit.
local function primes_up_to(limit)
  local is_prime = {}
  for number = 2, limit do
    is_prime[number] = true
  end
  local primes = {}
  for number = 2, limit do
    if is_prime[number] then
      table.insert(primes, number)
      for multiple = number * number, limit, number do
        is_prime[multiple] = false
      end
    end
  end
  return primes
end

-- Prints the primes up to three limits.
local function main()
  for _, limit in ipairs({10, 30, 60}) do
    print(table.concat(primes_up_to(limit), " "))
  end
end

main()
