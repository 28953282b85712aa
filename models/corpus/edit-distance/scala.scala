// Measures how many edits turn one word into another.
object EditDistance {
  // Levenshtein distance, with the last and the current row of the table only.
  def editDistance(a: String, b: String): Int = {
    var last = Array.range(0, b.length + 1)
    for (i <- 1 to a.length) {
      val row = new Array[Int](b.length + 1)
      row(0) = i
      for (j <- 1 to b.length) {
        val cost = if (a(i - 1) == b(j - 1)) 0 else 1
        row(j) = math.min(math.min(last(j) + 1, row(j - 1) + 1), last(j - 1) + cost)
      }
      last = row
    }
    last(b.length)
  }

  // Shows an empty word as a pair of quotes.
  def show(word: String): String = if (word.isEmpty) "\"\"" else word

  // Compares four pairs of words.
  def main(args: Array[String]): Unit = {
    for ((a, b) <- List(("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol"))) {
      println(s"${show(a)} ${show(b)} ${editDistance(a, b)}")
    }
  }
}
