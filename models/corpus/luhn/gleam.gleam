// Checks numbers by the Luhn formula.
import gleam/int
import gleam/io
import gleam/list
import gleam/string

// Adds the digits from the right, every second one doubled (less 9 above 9).
pub fn luhn_sum(digits: List(Int)) -> Int {
  digits
  |> list.reverse
  |> list.index_map(fn(digit, position) {
    case position % 2, digit * 2 {
      0, _ -> digit
      _, doubled if doubled > 9 -> doubled - 9
      _, doubled -> doubled
    }
  })
  |> int.sum
}

// Says whether a number, spaces allowed, passes the check.
pub fn is_valid(number: String) -> Bool {
  let digits =
    string.replace(number, " ", "")
    |> string.to_graphemes
    |> list.try_map(int.parse)
  case digits {
    Ok([_, _, ..] as digits) -> luhn_sum(digits) % 10 == 0
    _ -> False
  }
}

// Checks five numbers.
pub fn main() -> Nil {
  ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]
  |> list.each(fn(number) {
    let verdict = case is_valid(number) {
      True -> "valid"
      False -> "invalid"
    }
    io.println(number <> " " <> verdict)
  })
}
