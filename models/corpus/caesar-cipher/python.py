# Encrypts and decrypts texts with the Caesar cipher.


# Moves a letter key places on in the alphabet; other signs stay.
def shift(letter: str, key: int) -> str:
    if "a" <= letter <= "z":
        first = ord("a")
    elif "A" <= letter <= "Z":
        first = ord("A")
    else:
        return letter
    return chr((ord(letter) - first + key) % 26 + first)


# Shifts every letter of the text.
def caesar(text: str, key: int) -> str:
    return "".join(shift(letter, key) for letter in text)


# Encrypts two texts and decrypts them again.
def main() -> None:
    for text, key in [("Hello, World!", 3), ("Pack my box.", 13)]:
        secret = caesar(text, key)
        print(secret)
        print(caesar(secret, 26 - key))


if __name__ == "__main__":
    main()
