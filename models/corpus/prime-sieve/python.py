# Lists prime numbers with the sieve of Eratosthenes.


# Returns all primes from 2 up to and including limit.
def primes_up_to(limit: int) -> list[int]:
    is_prime = [True] * (limit + 1)
    primes = []
    for number in range(2, limit + 1):
        if is_prime[number]:
            primes.append(number)
            for multiple in range(number * number, limit + 1, number):
                is_prime[multiple] = False
    return primes


# Prints the primes up to three limits.
def main() -> None:
    for limit in [10, 30, 60]:
        print(" ".join(str(prime) for prime in primes_up_to(limit)))


if __name__ == "__main__":
    main()
