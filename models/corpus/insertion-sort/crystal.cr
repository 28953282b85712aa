# Sorts lists of numbers by insertion.

# Moves each value left past all larger ones, in place.
def insertion_sort(values : Array(Int32)) : Nil
  (1...values.size).each do |i|
    value = values[i]
    j = i
    while j > 0 && values[j - 1] > value
      values[j] = values[j - 1]
      j -= 1
    end
    values[j] = value
  end
end

# Sorts three lists and prints them.
[[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]].each do |values|
  insertion_sort(values)
  puts values.join(" ")
end
