// Counts how often each letter occurs in a text.
object LetterCount {
  // Returns 26 counts, from a to z; capitals count as small letters.
  def countLetters(text: String): Array[Int] = {
    val counts = Array.fill(26)(0)
    for (sign <- text.toLowerCase) {
      if (sign >= 'a' && sign <= 'z') {
        counts(sign - 'a') += 1
      }
    }
    counts
  }

  // Prints the letters that occur at least twice.
  def main(args: Array[String]): Unit = {
    val counts = countLetters("The quick brown fox jumps over the lazy dog again")
    for ((count, index) <- counts.zipWithIndex) {
      if (count >= 2) {
        val letter = ('a' + index).toChar
        println(s"$letter=$count")
      }
    }
  }
}
