# Checks whether the brackets in a text are balanced.

OPENERS = {")": "(", "]": "[", "}": "{"}


# Keeps the open brackets on a stack; each closing one must match the last.
def is_balanced(text: str) -> bool:
    stack = []
    for sign in text:
        if sign in "([{":
            stack.append(sign)
        elif sign in OPENERS and (not stack or stack.pop() != OPENERS[sign]):
            return False
    return not stack


# Checks five texts.
def main() -> None:
    for text in ["([]{})", "([)]", "{a(b)c}", "((", ""]:
        verdict = "balanced" if is_balanced(text) else "not balanced"
        print(f'"{text}" {verdict}')


if __name__ == "__main__":
    main()
