// Finds numbers in a sorted list by halving the range that may hold them.

// Returns the index of target in the sorted values, or null.
fun binarySearch(values: List<Int>, target: Int): Int? {
    var low = 0
    var high = values.lastIndex
    while (low <= high) {
        val middle = low + (high - low) / 2
        when {
            values[middle] == target -> return middle
            values[middle] < target -> low = middle + 1
            else -> high = middle - 1
        }
    }
    return null
}

// Searches for five numbers, some of them absent.
fun main() {
    val values = listOf(1, 3, 4, 6, 8, 9, 11, 15, 22)
    for (target in listOf(6, 1, 22, 13, 0)) {
        val index = binarySearch(values, target)
        if (index != null) {
            println("$target at $index")
        } else {
            println("$target not found")
        }
    }
}
