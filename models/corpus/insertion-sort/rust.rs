// Sorts lists of numbers by insertion.

// Moves each value left past all larger ones, in place.
fn insertion_sort(values: &mut [i32]) {
    for i in 1..values.len() {
        let value = values[i];
        let mut j = i;
        while j > 0 && values[j - 1] > value {
            values[j] = values[j - 1];
            j -= 1;
        }
        values[j] = value;
    }
}

// Sorts three lists and prints them.
fn main() {
    for mut values in [vec![5, 2, 9, 1, 5, 6], vec![3], vec![10, -2, 7, 0, -5]] {
        insertion_sort(&mut values);
        let shown: Vec<String> = values.iter().map(i32::to_string).collect();
        println!("{}", shown.join(" "));
    }
}
