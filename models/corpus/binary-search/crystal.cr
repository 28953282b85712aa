# Finds numbers in a sorted list by halving the range that may hold them.

# Returns the index of target in the sorted values, or -1.
def binary_search(values : Array(Int32), target : Int32) : Int32
  low = 0
  high = values.size - 1
  while low <= high
    middle = (low + high) // 2
    return middle if values[middle] == target
    if values[middle] < target
      low = middle + 1
    else
      high = middle - 1
    end
  end
  -1
end

# Searches for five numbers, some of them absent.
values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
[6, 1, 22, 13, 0].each do |target|
  index = binary_search(values, target)
  if index >= 0
    puts "#{target} at #{index}"
  else
    puts "#{target} not found"
  end
end
