// Sorts lists of numbers by insertion.

// Moves each value left past all larger ones, in place.
function insertionSort(values) {
  for (let i = 1; i < values.length; i++) {
    const value = values[i];
    let j = i;
    while (j > 0 && values[j - 1] > value) {
      values[j] = values[j - 1];
      j--;
    }
    values[j] = value;
  }
}

// Sorts three lists and prints them.
function main() {
  const lists = [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]];
  for (const values of lists) {
    insertionSort(values);
    console.log(values.join(" "));
  }
}

main();
