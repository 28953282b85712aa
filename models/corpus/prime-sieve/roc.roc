# Lists prime numbers with the sieve of Eratosthenes.

# Returns all primes from 2 up to and including limit.
primes_up_to : U64 -> List(U64)
primes_up_to = |limit| {
	var $is_prime = List.repeat(True, limit + 1)
	var $primes = []
	for number in 2..=limit {
		if $is_prime.get(number) == Ok(True) {
			$primes = $primes.append(number)
			var $multiple = number * number
			while $multiple <= limit {
				$is_prime = $is_prime.set($multiple, False) ?? $is_prime
				$multiple = $multiple + number
			}
		}
	}
	$primes
}

# Prints the primes up to three limits.
main! = |_args| {
	for limit in [10, 30, 60] {
		line = primes_up_to(limit).map(U64.to_str) |> Str.join_with(" ")
		echo!("${line}\n")
	}
	Ok({})
}
