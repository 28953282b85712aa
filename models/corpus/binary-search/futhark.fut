-- Finds numbers in a sorted list by halving the range that may hold them.

-- Returns the index of target in the sorted values, or -1.
def binary_search [n] (values: [n]i64) (target: i64) : i64 =
  let (index, _, _) =
    loop (index, low, high) = (-1, 0, n - 1) while index < 0 && low <= high do
      let middle = (low + high) / 2
      in if values[middle] == target
         then (middle, low, high)
         else if values[middle] < target
         then (index, middle + 1, high)
         else (index, low, middle - 1)
  in index

def numbers : [9]i64 = [1, 3, 4, 6, 8, 9, 11, 15, 22]

-- Searches for five numbers, some of them absent.
entry search_6 = binary_search numbers 6
entry search_1 = binary_search numbers 1
entry search_22 = binary_search numbers 22
entry search_13 = binary_search numbers 13
entry search_0 = binary_search numbers 0
