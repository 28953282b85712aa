// Sorts lists of numbers by insertion.

class Sort {
  // Moves each value left past all larger ones, in place.
  static insertionSort(values) {
    for (i in 1...values.count) {
      var value = values[i]
      var j = i
      while (j > 0 && values[j - 1] > value) {
        values[j] = values[j - 1]
        j = j - 1
      }
      values[j] = value
    }
  }
}

// Sorts three lists and prints them.
for (values in [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]) {
  Sort.insertionSort(values)
  System.print(values.join(" "))
}
