// Encrypts and decrypts texts with the Caesar cipher.

// Moves a letter key places on in the alphabet; other signs stay.
fn shift(letter: char, key: u8) -> char {
    let first = match letter {
        'a'..='z' => b'a',
        'A'..='Z' => b'A',
        _ => return letter,
    };
    ((letter as u8 - first + key) % 26 + first) as char
}

// Shifts every letter of the text.
fn caesar(text: &str, key: u8) -> String {
    text.chars().map(|letter| shift(letter, key)).collect()
}

// Encrypts two texts and decrypts them again.
fn main() {
    for (text, key) in [("Hello, World!", 3), ("Pack my box.", 13)] {
        let secret = caesar(text, key);
        println!("{secret}");
        println!("{}", caesar(&secret, 26 - key));
    }
}
