// Checks whether the brackets in a text are balanced.

var Openers = { ")": "(", "]": "[", "}": "{" }

class Brackets {
  // Keeps the open brackets on a stack; each closing one must match the last.
  static isBalanced(text) {
    var stack = []
    for (sign in text) {
      if ("([{".contains(sign)) {
        stack.add(sign)
      } else if (Openers.containsKey(sign)) {
        if (stack.isEmpty || stack.removeAt(-1) != Openers[sign]) return false
      }
    }
    return stack.isEmpty
  }
}

// Checks five texts.
for (text in ["([]{})", "([)]", "{a(b)c}", "((", ""]) {
  var verdict = Brackets.isBalanced(text) ? "balanced" : "not balanced"
  System.print("\"%(text)\" %(verdict)")
}
