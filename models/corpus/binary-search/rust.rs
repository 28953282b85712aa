// Finds numbers in a sorted list by halving the range that may hold them.

use std::cmp::Ordering;

// Returns the index of target in the sorted values, or None.
fn binary_search(values: &[i32], target: i32) -> Option<usize> {
    let mut low = 0;
    let mut high = values.len();
    while low < high {
        let middle = low + (high - low) / 2;
        match values[middle].cmp(&target) {
            Ordering::Equal => return Some(middle),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}

// Searches for five numbers, some of them absent.
fn main() {
    let values = [1, 3, 4, 6, 8, 9, 11, 15, 22];
    for target in [6, 1, 22, 13, 0] {
        match binary_search(&values, target) {
            Some(index) => println!("{target} at {index}"),
            None => println!("{target} not found"),
        }
    }
}
