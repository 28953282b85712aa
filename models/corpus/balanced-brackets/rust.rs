// Checks whether the brackets in a text are balanced.

// Returns the opening bracket that belongs to a closing one.
fn opener(closer: char) -> Option<char> {
    match closer {
        ')' => Some('('),
        ']' => Some('['),
        '}' => Some('{'),
        _ => None,
    }
}

// Keeps the open brackets on a stack; each closing one must match the last.
fn is_balanced(text: &str) -> bool {
    let mut stack = Vec::new();
    for sign in text.chars() {
        if "([{".contains(sign) {
            stack.push(sign);
        } else if opener(sign).is_some() && stack.pop() != opener(sign) {
            return false;
        }
    }
    stack.is_empty()
}

// Checks five texts.
fn main() {
    for text in ["([]{})", "([)]", "{a(b)c}", "((", ""] {
        let verdict = if is_balanced(text) { "balanced" } else { "not balanced" };
        println!("\"{text}\" {verdict}");
    }
}
