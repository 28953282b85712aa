# Checks whether the brackets in a text are balanced.

# Returns the open bracket that belongs to a closing one.
func openerOf(closer: char): char =
  case closer
  of ')': '('
  of ']': '['
  else: '{'

# Keeps the open brackets on a stack; each closing one must match the last.
func isBalanced(text: string): bool =
  var stack: seq[char]
  for sign in text:
    case sign
    of '(', '[', '{':
      stack.add(sign)
    of ')', ']', '}':
      if stack.len == 0 or stack.pop() != openerOf(sign):
        return false
    else:
      discard
  stack.len == 0

# Checks five texts.
when isMainModule:
  for text in ["([]{})", "([)]", "{a(b)c}", "((", ""]:
    let verdict = if isBalanced(text): "balanced" else: "not balanced"
    echo '"', text, "\" ", verdict
