// Lists prime numbers with the sieve of Eratosthenes.

// Returns all primes from 2 up to and including limit.
fn primes_up_to(limit: usize) -> Vec<usize> {
    let mut is_prime = vec![true; limit + 1];
    let mut primes = Vec::new();
    for number in 2..=limit {
        if is_prime[number] {
            primes.push(number);
            for multiple in (number * number..=limit).step_by(number) {
                is_prime[multiple] = false;
            }
        }
    }
    primes
}

// Prints the primes up to three limits.
fn main() {
    for limit in [10, 30, 60] {
        let primes: Vec<String> = primes_up_to(limit).iter().map(usize::to_string).collect();
        println!("{}", primes.join(" "));
    }
}
