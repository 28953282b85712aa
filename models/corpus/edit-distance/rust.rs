// Measures how many edits turn one word into another.

// Levenshtein distance, with the last and the current row of the table only.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = if a[i - 1] == b[j - 1] { 0 } else { 1 };
            row.push((last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost));
        }
        last = row;
    }
    last[b.len()]
}

// Shows an empty word as a pair of quotes.
fn show(word: &str) -> &str {
    if word.is_empty() { "\"\"" } else { word }
}

// Compares four pairs of words.
fn main() {
    for (a, b) in [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")] {
        println!("{} {} {}", show(a), show(b), edit_distance(a, b));
    }
}
