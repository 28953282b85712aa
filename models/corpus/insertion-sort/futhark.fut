-- Sorts lists of numbers by insertion.

-- Moves each value left past all larger ones.
def insertion_sort [n] (values: [n]i64) : [n]i64 =
  loop (sorted: *[n]i64) = copy values for i in 1..<n do
    let value = sorted[i]
    let (sorted, j) =
      loop (sorted: *[n]i64, j: i64) = (sorted, i) while j > 0 && sorted[j - 1] > value do
        let larger = sorted[j - 1]
        in (sorted with [j] = larger, j - 1)
    in sorted with [j] = value

-- Sorts three lists.
entry sort_six = insertion_sort [5, 2, 9, 1, 5, 6]
entry sort_one = insertion_sort [3]
entry sort_five = insertion_sort [10, -2, 7, 0, -5]
