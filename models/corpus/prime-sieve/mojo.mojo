# Lists prime numbers with the sieve of Eratosthenes.


# Returns all primes from 2 up to and including limit.
def primes_up_to(limit: Int) -> List[Int]:
    var is_prime = List[Bool](length=limit + 1, fill=True)
    var primes = List[Int]()
    for number in range(2, limit + 1):
        if is_prime[number]:
            primes.append(number)
            for multiple in range(number * number, limit + 1, number):
                is_prime[multiple] = False
    return primes^


# Prints the primes up to three limits.
def main():
    for limit in [10, 30, 60]:
        print(String(" ").join(primes_up_to(limit)))
