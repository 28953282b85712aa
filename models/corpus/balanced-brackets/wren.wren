// Checks whether the brackets of texts are properly nested.

var Openers = { ")": "(", "]": "[", "}": "{" }

class Brackets {
  // Keeps the open brackets on a stack; each closing one must match the top.
  static isBalanced(text) {
    var stack = []
    for (symbol in text) {
      if ("([{".contains(symbol)) {
        stack.add(symbol)
      } else if (Openers.containsKey(symbol)) {
        if (stack.isEmpty) return false
        if (stack.removeAt(-1) != Openers[symbol]) return false
      }
    }
    return stack.isEmpty
  }
}

for (text in ["([]{})", "([)]", "{a(b)c}", "((", ""]) {
  var verdict = Brackets.isBalanced(text) ? "balanced" : "not balanced"
  System.print("\"%(text)\" %(verdict)")
}
