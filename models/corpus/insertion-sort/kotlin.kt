// Sorts lists of numbers by insertion.

// Moves each value left past all larger ones, in place.
fun insertionSort(values: IntArray) {
    for (i in 1 until values.size) {
        val value = values[i]
        var j = i
        while (j > 0 && values[j - 1] > value) {
            values[j] = values[j - 1]
            j--
        }
        values[j] = value
    }
}

// Sorts three lists and prints them.
fun main() {
    for (values in listOf(intArrayOf(5, 2, 9, 1, 5, 6), intArrayOf(3), intArrayOf(10, -2, 7, 0, -5))) {
        insertionSort(values)
        println(values.joinToString(" "))
    }
}
