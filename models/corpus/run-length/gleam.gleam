// Writes runs of equal letters as a count and the letter, and reads them back.
import gleam/int
import gleam/io
import gleam/list
import gleam/string

// Turns each run of equal letters into its length and the letter.
pub fn encode(text: String) -> String {
  text
  |> string.to_graphemes
  |> list.chunk(fn(letter) { letter })
  |> list.map(fn(run) {
    int.to_string(list.length(run)) <> string.concat(list.take(run, 1))
  })
  |> string.concat
}

// Repeats each letter as often as the count before it says.
pub fn decode(code: String) -> String {
  let #(text, _) =
    code
    |> string.to_graphemes
    |> list.fold(#("", 0), fn(state, sign) {
      let #(text, count) = state
      case int.parse(sign) {
        Ok(digit) -> #(text, count * 10 + digit)
        Error(Nil) -> #(text <> string.repeat(sign, count), 0)
      }
    })
  text
}

// Encodes and decodes three texts.
pub fn main() -> Nil {
  list.each(["aaaabbc", "wwwwwwwwwwwwb", "abc"], fn(text) {
    let code = encode(text)
    io.println(text <> " -> " <> code <> " -> " <> decode(code))
  })
}
