// Counts how often each letter occurs in a text.

// Returns 26 counts, from a to z; capitals count as small letters.
fn count_letters(text: &str) -> [u32; 26] {
    let mut counts = [0; 26];
    for sign in text.to_ascii_lowercase().bytes() {
        if sign.is_ascii_lowercase() {
            counts[(sign - b'a') as usize] += 1;
        }
    }
    counts
}

// Prints the letters that occur at least twice.
fn main() {
    let counts = count_letters("The quick brown fox jumps over the lazy dog again");
    for (letter, count) in ('a'..='z').zip(counts) {
        if count >= 2 {
            println!("{letter}={count}");
        }
    }
}
