// Checks whether the brackets in a text are balanced.
object BalancedBrackets {
  val Openers = Map(')' -> '(', ']' -> '[', '}' -> '{')

  // Keeps the open brackets on a stack; each closing one must match the last.
  def isBalanced(text: String): Boolean = {
    var stack = List[Char]()
    for (sign <- text) {
      if ("([{".contains(sign)) {
        stack = sign :: stack
      } else if (Openers.contains(sign)) {
        if (stack.headOption != Openers.get(sign)) {
          return false
        }
        stack = stack.tail
      }
    }
    stack.isEmpty
  }

  // Checks five texts.
  def main(args: Array[String]): Unit = {
    for (text <- List("([]{})", "([)]", "{a(b)c}", "((", "")) {
      val verdict = if (isBalanced(text)) "balanced" else "not balanced"
      println("\"" + text + "\" " + verdict)
    }
  }
}
