// Writes runs of equal letters as a count and the letter, and reads them back.

// Turns each run of equal letters into its length and the letter.
fn encode(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut start = 0;
    while start < letters.len() {
        let mut end = start;
        while end < letters.len() && letters[end] == letters[start] {
            end += 1;
        }
        code += &format!("{}{}", end - start, letters[start]);
        start = end;
    }
    code
}

// Repeats each letter as often as the count before it says.
fn decode(code: &str) -> String {
    let mut text = String::new();
    let mut count = 0;
    for sign in code.chars() {
        if let Some(digit) = sign.to_digit(10) {
            count = count * 10 + digit as usize;
        } else {
            text += &sign.to_string().repeat(count);
            count = 0;
        }
    }
    text
}

// Encodes and decodes three texts.
fn main() {
    for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"] {
        let code = encode(text);
        println!("{text} -> {code} -> {}", decode(&code));
    }
}
