# Writes runs of equal letters as a count and the letter, and reads them back.


# Turns each run of equal letters into its length and the letter.
def encode(text: str) -> str:
    code = ""
    start = 0
    while start < len(text):
        end = start
        while end < len(text) and text[end] == text[start]:
            end += 1
        code += str(end - start) + text[start]
        start = end
    return code


# Repeats each letter as often as the count before it says.
def decode(code: str) -> str:
    text = ""
    count = 0
    for sign in code:
        if sign.isdigit():
            count = count * 10 + int(sign)
        else:
            text += sign * count
            count = 0
    return text


# Encodes and decodes three texts.
def main() -> None:
    for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]:
        code = encode(text)
        print(f"{text} -> {code} -> {decode(code)}")


if __name__ == "__main__":
    main()
