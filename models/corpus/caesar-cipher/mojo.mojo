# Encrypts and decrypts texts with the Caesar cipher.


# Moves a letter key places on in the alphabet; other signs stay.
def shift(letter: Int, key: Int) -> Int:
    var first: Int
    if ord("a") <= letter <= ord("z"):
        first = ord("a")
    elif ord("A") <= letter <= ord("Z"):
        first = ord("A")
    else:
        return letter
    return (letter - first + key) % 26 + first


# Shifts every letter of the text.
def caesar(text: String, key: Int) -> String:
    var result = String()
    for letter in text.codepoints():
        result += chr(shift(Int(letter), key))
    return result


# Encrypts two texts and decrypts them again.
def main():
    for text, key in [("Hello, World!", 3), ("Pack my box.", 13)]:
        var secret = caesar(text, key)
        print(secret)
        print(caesar(secret, 26 - key))
