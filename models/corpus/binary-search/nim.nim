# Finds numbers in a sorted list by halving the range that may hold them.

# Returns the index of target in the sorted values, or -1.
func binarySearch(values: openArray[int], target: int): int =
  var low = 0
  var high = values.high
  while low <= high:
    let middle = (low + high) div 2
    if values[middle] == target:
      return middle
    if values[middle] < target:
      low = middle + 1
    else:
      high = middle - 1
  -1

# Searches for five numbers, some of them absent.
when isMainModule:
  let values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
  for target in [6, 1, 22, 13, 0]:
    let index = binarySearch(values, target)
    if index >= 0:
      echo target, " at ", index
    else:
      echo target, " not found"
