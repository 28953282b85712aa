# Checks whether the brackets in a text are balanced.


# Returns the open bracket that belongs to a closing one.
def opener_of(closer: String) -> String:
    if closer == ")":
        return "("
    elif closer == "]":
        return "["
    return "{"


# Keeps the open brackets on a stack; each closing one must match the last.
def is_balanced(text: String) -> Bool:
    var stack = List[String]()
    for slice in text.codepoint_slices():
        var sign = String(slice)
        if sign in "([{":
            stack.append(sign)
        elif sign in ")]}":
            if len(stack) == 0 or stack.pop() != opener_of(sign):
                return False
    return len(stack) == 0


# Checks five texts.
def main():
    for text in ["([]{})", "([)]", "{a(b)c}", "((", ""]:
        var verdict = "balanced" if is_balanced(text) else "not balanced"
        print('"', text, '" ', verdict, sep="")
