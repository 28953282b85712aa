// Writes numbers as Roman numerals.
import gleam/int
import gleam/io
import gleam/list

const numerals = [
  #(1000, "M"),
  #(900, "CM"),
  #(500, "D"),
  #(400, "CD"),
  #(100, "C"),
  #(90, "XC"),
  #(50, "L"),
  #(40, "XL"),
  #(10, "X"),
  #(9, "IX"),
  #(5, "V"),
  #(4, "IV"),
  #(1, "I"),
]

// Takes the largest numeral that fits until nothing is left.
pub fn to_roman(number: Int) -> String {
  let largest = list.find(numerals, fn(pair) { pair.0 <= number })
  case largest {
    Ok(#(value, numeral)) -> numeral <> to_roman(number - value)
    Error(Nil) -> ""
  }
}

// Prints six numbers and their numerals.
pub fn main() -> Nil {
  list.each([4, 9, 14, 90, 1994, 2024], fn(number) {
    io.println(int.to_string(number) <> " = " <> to_roman(number))
  })
}
