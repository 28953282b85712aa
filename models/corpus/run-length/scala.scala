// Writes runs of equal letters as a count and the letter, and reads them back.
object RunLength {
  // Turns each run of equal letters into its length and the letter.
  def encode(text: String): String = {
    val code = new StringBuilder
    var start = 0
    while (start < text.length) {
      var end = start
      while (end < text.length && text(end) == text(start)) {
        end += 1
      }
      code.append(end - start).append(text(start))
      start = end
    }
    code.toString
  }

  // Repeats each letter as often as the count before it says.
  def decode(code: String): String = {
    val text = new StringBuilder
    var count = 0
    for (sign <- code) {
      if (sign.isDigit) {
        count = count * 10 + sign.asDigit
      } else {
        text.append(sign.toString * count)
        count = 0
      }
    }
    text.toString
  }

  // Encodes and decodes three texts.
  def main(args: Array[String]): Unit = {
    for (text <- List("aaaabbc", "wwwwwwwwwwwwb", "abc")) {
      val code = encode(text)
      println(s"$text -> $code -> ${decode(code)}")
    }
  }
}
