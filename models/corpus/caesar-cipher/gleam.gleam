// Encrypts and decrypts texts with the Caesar cipher.
import gleam/io
import gleam/list
import gleam/result
import gleam/string

// Moves a letter key places on in the alphabet; other signs stay.
pub fn shift(letter: UtfCodepoint, key: Int) -> UtfCodepoint {
  case string.utf_codepoint_to_int(letter) {
    code if code >= 97 && code <= 122 -> rotate(code, 97, key)
    code if code >= 65 && code <= 90 -> rotate(code, 65, key)
    _ -> Ok(letter)
  }
  |> result.unwrap(letter)
}

// Moves a code key places on in the alphabet that starts at first.
fn rotate(code: Int, first: Int, key: Int) -> Result(UtfCodepoint, Nil) {
  string.utf_codepoint({ code - first + key } % 26 + first)
}

// Shifts every letter of the text.
pub fn caesar(text: String, key: Int) -> String {
  text
  |> string.to_utf_codepoints
  |> list.map(shift(_, key))
  |> string.from_utf_codepoints
}

// Encrypts two texts and decrypts them again.
pub fn main() -> Nil {
  list.each([#("Hello, World!", 3), #("Pack my box.", 13)], fn(pair) {
    let #(text, key) = pair
    let secret = caesar(text, key)
    io.println(secret)
    io.println(caesar(secret, 26 - key))
  })
}
