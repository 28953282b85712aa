// Measures how many edits turn one word into another.
import gleam/int
import gleam/io
import gleam/list
import gleam/result
import gleam/string

// Levenshtein distance, with the last and the current row of the table only.
pub fn edit_distance(a: String, b: String) -> Int {
  let columns = string.to_graphemes(b)
  let first = list.index_map(["", ..columns], fn(_, index) { index })
  string.to_graphemes(a)
  |> list.fold(first, fn(last, letter) { next_row(last, letter, columns) })
  |> list.last
  |> result.unwrap(0)
}

// Builds the row of a letter from the last row of the table.
fn next_row(
  last: List(Int),
  letter: String,
  columns: List(String),
) -> List(Int) {
  let start = list.take(last, 1) |> list.map(int.add(_, 1))
  list.window_by_2(last)
  |> list.zip(columns)
  |> list.fold(start, fn(row, cell) {
    let #(#(diagonal, above), column) = cell
    let cost = case letter == column {
      True -> 0
      False -> 1
    }
    let left = list.first(row) |> result.unwrap(0)
    [int.min(int.min(above + 1, left + 1), diagonal + cost), ..row]
  })
  |> list.reverse
}

// Shows an empty word as a pair of quotes.
fn show(word: String) -> String {
  case word {
    "" -> "\"\""
    _ -> word
  }
}

// Compares four pairs of words.
pub fn main() -> Nil {
  [
    #("kitten", "sitting"),
    #("flaw", "lawn"),
    #("", "abc"),
    #("gumbo", "gambol"),
  ]
  |> list.each(fn(pair) {
    let #(a, b) = pair
    [show(a), show(b), int.to_string(edit_distance(a, b))]
    |> string.join(" ")
    |> io.println
  })
}
