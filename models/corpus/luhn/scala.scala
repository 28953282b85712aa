// Checks numbers by the Luhn formula.
object Luhn {
  // Adds the digits from the right, every second one doubled (less 9 above 9).
  def luhnSum(digits: Seq[Int]): Int = {
    var total = 0
    for ((value, position) <- digits.reverse.zipWithIndex) {
      var digit = value
      if (position % 2 == 1) {
        digit *= 2
        if (digit > 9) {
          digit -= 9
        }
      }
      total += digit
    }
    total
  }

  // Says whether a number, spaces allowed, passes the check.
  def isValid(number: String): Boolean = {
    val signs = number.filter(_ != ' ')
    signs.forall(_.isDigit) && signs.length >= 2 && luhnSum(signs.map(_.asDigit)) % 10 == 0
  }

  // Checks five numbers.
  def main(args: Array[String]): Unit = {
    for (number <- List("4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9")) {
      val verdict = if (isValid(number)) "valid" else "invalid"
      println(s"$number $verdict")
    }
  }
}
