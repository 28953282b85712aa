// Lists prime numbers with the sieve of Eratosthenes.
package main

import "fmt"

// Returns all primes from 2 up to and including limit.
func primesUpTo(limit int) []int {
	isComposite := make([]bool, limit+1)
	var primes []int
	for number := 2; number <= limit; number++ {
		if !isComposite[number] {
			primes = append(primes, number)
			for multiple := number * number; multiple <= limit; multiple += number {
				isComposite[multiple] = true
			}
		}
	}
	return primes
}

// Prints the primes up to three limits.
func main() {
	for _, limit := range []int{10, 30, 60} {
		for i, prime := range primesUpTo(limit) {
			if i > 0 {
				fmt.Print(" ")
			}
			fmt.Print(prime)
		}
		fmt.Println()
	}
}
