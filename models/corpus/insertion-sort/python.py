# Sorts lists of numbers by insertion.


# Moves each value left past all larger ones, in place.
def insertion_sort(values: list[int]) -> None:
    for i in range(1, len(values)):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


# Sorts three lists and prints them.
def main() -> None:
    for values in [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]:
        insertion_sort(values)
        print(" ".join(str(value) for value in values))


if __name__ == "__main__":
    main()
