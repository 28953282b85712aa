// Lists prime numbers with the sieve of Eratosthenes.
import gleam/int
import gleam/io
import gleam/list
import gleam/set.{type Set}
import gleam/string

// Returns all primes from 2 up to and including limit.
pub fn primes_up_to(limit: Int) -> List(Int) {
  sieve(2, limit, set.new(), [])
}

// Collects number if nothing crossed it out, and crosses out its multiples.
fn sieve(
  number: Int,
  limit: Int,
  crossed: Set(Int),
  primes: List(Int),
) -> List(Int) {
  case number > limit, set.contains(crossed, number) {
    True, _ -> list.reverse(primes)
    _, True -> sieve(number + 1, limit, crossed, primes)
    _, False ->
      cross_out(number * number, number, limit, crossed)
      |> sieve(number + 1, limit, _, [number, ..primes])
  }
}

// Adds the multiples of number from multiple up to limit.
fn cross_out(
  multiple: Int,
  number: Int,
  limit: Int,
  crossed: Set(Int),
) -> Set(Int) {
  case multiple > limit {
    True -> crossed
    False ->
      cross_out(multiple + number, number, limit, set.insert(crossed, multiple))
  }
}

// Prints the primes up to three limits.
pub fn main() -> Nil {
  list.each([10, 30, 60], fn(limit) {
    primes_up_to(limit)
    |> list.map(int.to_string)
    |> string.join(" ")
    |> io.println
  })
}
