// Measures how many edits turn one word into another.

// Levenshtein distance, with the last and the current row of the table only.
fun editDistance(a: String, b: String): Int {
    var last = IntArray(b.length + 1) { it }
    for (i in 1..a.length) {
        val row = IntArray(b.length + 1)
        row[0] = i
        for (j in 1..b.length) {
            val cost = if (a[i - 1] == b[j - 1]) 0 else 1
            row[j] = minOf(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
        }
        last = row
    }
    return last[b.length]
}

// Shows an empty word as a pair of quotes.
fun show(word: String): String = if (word.isEmpty()) "\"\"" else word

// Compares four pairs of words.
fun main() {
    val pairs = listOf("kitten" to "sitting", "flaw" to "lawn", "" to "abc", "gumbo" to "gambol")
    for ((a, b) in pairs) {
        println("${show(a)} ${show(b)} ${editDistance(a, b)}")
    }
}
