// Lists prime numbers with the sieve of Eratosthenes.

#include <iostream>
#include <vector>

// Returns all primes from 2 up to and including limit.
std::vector<int> primes_up_to(int limit) {
    std::vector<bool> is_prime(limit + 1, true);
    std::vector<int> primes;
    for (int number = 2; number <= limit; ++number) {
        if (is_prime[number]) {
            primes.push_back(number);
            for (int multiple = number * number; multiple <= limit; multiple += number) {
                is_prime[multiple] = false;
            }
        }
    }
    return primes;
}

// Prints the primes up to three limits.
int main() {
    for (int limit : {10, 30, 60}) {
        const char* separator = "";
        for (int prime : primes_up_to(limit)) {
            std::cout << separator << prime;
            separator = " ";
        }
        std::cout << '\n';
    }
}
