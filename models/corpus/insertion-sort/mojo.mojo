# Sorts lists of numbers by insertion.


# Moves each value left past all larger ones, in place.
def insertion_sort(mut values: List[Int]):
    for i in range(1, len(values)):
        var value = values[i]
        var j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


# Sorts three lists and prints them.
def main():
    var lists: List[List[Int]] = [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]
    for ref values in lists:
        insertion_sort(values)
        print(String(" ").join(values))
