// Counts how often each letter occurs in a text.

// Returns 26 counts, from a to z; capitals count as small letters.
fun countLetters(text: String): IntArray {
    val counts = IntArray(26)
    for (sign in text) {
        when (sign) {
            in 'a'..'z' -> counts[sign - 'a']++
            in 'A'..'Z' -> counts[sign - 'A']++
        }
    }
    return counts
}

// Prints the letters that occur at least twice.
fun main() {
    val counts = countLetters("The quick brown fox jumps over the lazy dog again")
    for ((index, count) in counts.withIndex()) {
        if (count >= 2) {
            val letter = 'a' + index
            println("$letter=$count")
        }
    }
}
