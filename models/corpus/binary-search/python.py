# Finds numbers in a sorted list by halving the range that may hold them.


# Returns the index of target in the sorted values, or -1.
def binary_search(values: list[int], target: int) -> int:
    low = 0
    high = len(values) - 1
    while low <= high:
        middle = (low + high) // 2
        if values[middle] == target:
            return middle
        if values[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1


# Searches for five numbers, some of them absent.
def main() -> None:
    values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
    for target in [6, 1, 22, 13, 0]:
        index = binary_search(values, target)
        if index >= 0:
            print(f"{target} at {index}")
        else:
            print(f"{target} not found")


if __name__ == "__main__":
    main()
