# Sorts lists of numbers by insertion.

import std/strutils

# Moves each value left past all larger ones, in place.
proc insertionSort(values: var seq[int]) =
  for i in 1..values.high:
    let value = values[i]
    var j = i
    while j > 0 and values[j - 1] > value:
      values[j] = values[j - 1]
      dec j
    values[j] = value

# Sorts three lists and prints them.
when isMainModule:
  for list in [@[5, 2, 9, 1, 5, 6], @[3], @[10, -2, 7, 0, -5]]:
    var values = list
    insertionSort(values)
    echo values.join(" ")
