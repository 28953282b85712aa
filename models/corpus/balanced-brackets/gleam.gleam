// Checks whether the brackets in a text are balanced.
import gleam/io
import gleam/list
import gleam/string

// Keeps the open brackets on a stack; each closing one must match the last.
pub fn is_balanced(text: String) -> Bool {
  check(text, [])
}

// Checks the rest of a text with the brackets that are still open.
fn check(text: String, stack: List(String)) -> Bool {
  case text, stack {
    "(" <> rest, _ -> check(rest, ["(", ..stack])
    "[" <> rest, _ -> check(rest, ["[", ..stack])
    "{" <> rest, _ -> check(rest, ["{", ..stack])
    ")" <> rest, ["(", ..others] -> check(rest, others)
    "]" <> rest, ["[", ..others] -> check(rest, others)
    "}" <> rest, ["{", ..others] -> check(rest, others)
    ")" <> _, _ | "]" <> _, _ | "}" <> _, _ -> False
    "", _ -> list.is_empty(stack)
    _, _ -> check(string.drop_start(text, 1), stack)
  }
}

// Checks five texts.
pub fn main() -> Nil {
  list.each(["([]{})", "([)]", "{a(b)c}", "((", ""], fn(text) {
    let verdict = case is_balanced(text) {
      True -> "balanced"
      False -> "not balanced"
    }
    io.println("\"" <> text <> "\" " <> verdict)
  })
}
