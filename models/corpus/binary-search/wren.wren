// Finds numbers in a sorted list by halving the range that may hold them.

class Search {
  // Returns the index of target in the sorted values, or -1.
  static binarySearch(values, target) {
    var low = 0
    var high = values.count - 1
    while (low <= high) {
      var middle = ((low + high) / 2).floor
      if (values[middle] == target) return middle
      if (values[middle] < target) {
        low = middle + 1
      } else {
        high = middle - 1
      }
    }
    return -1
  }
}

// Searches for five numbers, some of them absent.
var values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
for (target in [6, 1, 22, 13, 0]) {
  var index = Search.binarySearch(values, target)
  if (index >= 0) {
    System.print("%(target) at %(index)")
  } else {
    System.print("%(target) not found")
  }
}
