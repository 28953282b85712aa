# Finds numbers in a sorted list by halving the range that may hold them.


# Returns the index of target in the sorted values, or -1.
def binary_search(values: List[Int], target: Int) -> Int:
    var low = 0
    var high = len(values) - 1
    while low <= high:
        var middle = (low + high) // 2
        if values[middle] == target:
            return middle
        if values[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1


# Searches for five numbers, some of them absent.
def main():
    var values: List[Int] = [1, 3, 4, 6, 8, 9, 11, 15, 22]
    for target in [6, 1, 22, 13, 0]:
        var index = binary_search(values, target)
        if index >= 0:
            print(target, "at", index)
        else:
            print(target, "not found")
