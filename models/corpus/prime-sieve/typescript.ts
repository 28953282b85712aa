// Lists prime numbers with the sieve of Eratosthenes.

// Returns all primes from 2 up to and including limit.
function primesUpTo(limit: number): number[] {
  const isPrime: boolean[] = new Array(limit + 1).fill(true);
  const primes: number[] = [];
  for (let number = 2; number <= limit; number++) {
    if (isPrime[number]) {
      primes.push(number);
      for (let multiple = number * number; multiple <= limit; multiple += number) {
        isPrime[multiple] = false;
      }
    }
  }
  return primes;
}

// Prints the primes up to three limits.
function main(): void {
  for (const limit of [10, 30, 60]) {
    console.log(primesUpTo(limit).join(" "));
  }
}

main();
