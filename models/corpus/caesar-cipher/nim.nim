# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
func shift(letter: char, key: int): char =
  let first = case letter
    of 'a'..'z': 'a'
    of 'A'..'Z': 'A'
    else: return letter
  chr((ord(letter) - ord(first) + key) mod 26 + ord(first))

# Shifts every letter of the text.
func caesar(text: string, key: int): string =
  for letter in text:
    result.add(shift(letter, key))

# Encrypts two texts and decrypts them again.
when isMainModule:
  for (text, key) in [("Hello, World!", 3), ("Pack my box.", 13)]:
    let secret = caesar(text, key)
    echo secret
    echo caesar(secret, 26 - key)
