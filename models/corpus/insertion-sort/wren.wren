// Sorts lists of numbers by insertion.

class Sort {
  // Sorts the values in place by shifting larger ones to the right.
  static insertionSort(values) {
    for (index in 0...values.count) {
      var value = values[index]
      var hole = index
      while (hole > 0 && values[hole - 1] > value) {
        values[hole] = values[hole - 1]
        hole = hole - 1
      }
      values[hole] = value
    }
    return values
  }
}

for (values in [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]) {
  System.print(Sort.insertionSort(values).join(" "))
}
