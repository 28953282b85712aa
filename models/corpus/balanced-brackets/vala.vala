// Checks whether the brackets in a text are balanced.

// Returns the open bracket that belongs to a closing one.
char opener_of (char closer) {
    switch (closer) {
        case ')':
            return '(';
        case ']':
            return '[';
        default:
            return '{';
    }
}

// Keeps the open brackets on a stack; each closing one must match the last.
bool is_balanced (string text) {
    var stack = new StringBuilder ();
    for (int i = 0; i < text.length; i++) {
        char sign = text[i];
        if (sign in "([{".data) {
            stack.append_c (sign);
        } else if (sign in ")]}".data) {
            if (stack.len == 0 || stack.str[stack.len - 1] != opener_of (sign)) {
                return false;
            }
            stack.truncate (stack.len - 1);
        }
    }
    return stack.len == 0;
}

// Checks five texts.
void main () {
    foreach (unowned string text in new string[] { "([]{})", "([)]", "{a(b)c}", "((", "" }) {
        string verdict = is_balanced (text) ? "balanced" : "not balanced";
        print ("\"%s\" %s\n", text, verdict);
    }
}
