// Sorts lists of numbers by insertion.
import gleam/int
import gleam/io
import gleam/list
import gleam/string

// Inserts each value after all that are not larger.
pub fn insertion_sort(values: List(Int)) -> List(Int) {
  list.fold(values, [], insert)
}

// Moves a value past the smaller ones of a sorted list.
fn insert(sorted: List(Int), value: Int) -> List(Int) {
  case sorted {
    [first, ..rest] if first <= value -> [first, ..insert(rest, value)]
    _ -> [value, ..sorted]
  }
}

// Sorts three lists and prints them.
pub fn main() -> Nil {
  list.each([[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]], fn(values) {
    insertion_sort(values)
    |> list.map(int.to_string)
    |> string.join(" ")
    |> io.println
  })
}
