// Counts how often each letter occurs in a text.
import gleam/dict.{type Dict}
import gleam/int
import gleam/io
import gleam/list
import gleam/option
import gleam/string

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// Returns 26 counts, from a to z; capitals count as small letters.
pub fn count_letters(text: String) -> Dict(String, Int) {
  let zeros =
    string.to_graphemes(alphabet)
    |> list.map(fn(letter) { #(letter, 0) })
    |> dict.from_list
  string.lowercase(text)
  |> string.to_graphemes
  |> list.filter(string.contains(alphabet, _))
  |> list.fold(zeros, fn(counts, letter) {
    dict.upsert(counts, letter, fn(count) { option.unwrap(count, 0) + 1 })
  })
}

// Prints the letters that occur at least twice.
pub fn main() -> Nil {
  count_letters("The quick brown fox jumps over the lazy dog again")
  |> dict.to_list
  |> list.sort(fn(a, b) { string.compare(a.0, b.0) })
  |> list.each(fn(entry) {
    let #(letter, count) = entry
    case count >= 2 {
      True -> io.println(letter <> "=" <> int.to_string(count))
      False -> Nil
    }
  })
}
