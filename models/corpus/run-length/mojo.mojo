# Writes runs of equal letters as a count and the letter, and reads them back.


# Turns each run of equal letters into its length and the letter.
def encode(text: String) -> String:
    var signs = text.as_bytes()
    var code = String()
    var start = 0
    while start < len(signs):
        var end = start
        while end < len(signs) and signs[end] == signs[start]:
            end += 1
        code += String(end - start) + chr(Int(signs[start]))
        start = end
    return code


# Repeats each letter as often as the count before it says.
def decode(code: String) -> String:
    var text = String()
    var count = 0
    for sign in code.codepoints():
        if ord("0") <= Int(sign) <= ord("9"):
            count = count * 10 + Int(sign) - ord("0")
        else:
            text += String(sign) * count
            count = 0
    return text


# Encodes and decodes three texts.
def main():
    for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]:
        var code = encode(text)
        print(text, "->", code, "->", decode(code))
