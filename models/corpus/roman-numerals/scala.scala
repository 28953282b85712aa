// Writes numbers as Roman numerals.
object RomanNumerals {
  val Numerals = List(
    1000 -> "M",
    900 -> "CM",
    500 -> "D",
    400 -> "CD",
    100 -> "C",
    90 -> "XC",
    50 -> "L",
    40 -> "XL",
    10 -> "X",
    9 -> "IX",
    5 -> "V",
    4 -> "IV",
    1 -> "I"
  )

  // Takes the largest numeral that fits until nothing is left.
  def toRoman(number: Int): String = {
    var rest = number
    val roman = new StringBuilder
    for ((value, numeral) <- Numerals) {
      while (rest >= value) {
        roman.append(numeral)
        rest -= value
      }
    }
    roman.toString
  }

  // Prints six numbers and their numerals.
  def main(args: Array[String]): Unit = {
    for (number <- List(4, 9, 14, 90, 1994, 2024)) {
      println(s"$number = ${toRoman(number)}")
    }
  }
}
