// Checks whether the brackets in a text are balanced.

val OPENERS = mapOf(')' to '(', ']' to '[', '}' to '{')

// Keeps the open brackets on a stack; each closing one must match the last.
fun isBalanced(text: String): Boolean {
    val stack = mutableListOf<Char>()
    for (sign in text) {
        if (sign in "([{") {
            stack.add(sign)
        } else if (sign in OPENERS) {
            if (stack.lastOrNull() != OPENERS[sign]) {
                return false
            }
            stack.removeAt(stack.lastIndex)
        }
    }
    return stack.isEmpty()
}

// Checks five texts.
fun main() {
    for (text in listOf("([]{})", "([)]", "{a(b)c}", "((", "")) {
        val verdict = if (isBalanced(text)) "balanced" else "not balanced"
        println("\"$text\" $verdict")
    }
}
