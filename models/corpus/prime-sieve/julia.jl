# Lists prime numbers with the sieve of Eratosthenes.

# Returns all primes from 2 up to and including limit.
function primes_up_to(limit)
    is_prime = trues(limit)
    primes = Int[]
    for number in 2:limit
        if is_prime[number]
            push!(primes, number)
            for multiple in number^2:number:limit
                is_prime[multiple] = false
            end
        end
    end
    return primes
end

# Prints the primes up to three limits.
function main()
    for limit in [10, 30, 60]
        println(join(primes_up_to(limit), " "))
    end
end

main()
