// Encrypts texts with the Caesar cipher and decrypts them again.

class Cipher {
  // Moves a letter by the key within its alphabet; leaves the rest alone.
  static shift(letter, key) {
    var code = letter.codePoints[0]
    var base = null
    if (code >= 97 && code <= 122) base = 97
    if (code >= 65 && code <= 90) base = 65
    if (base == null) return letter
    return String.fromCodePoint((code - base + key) % 26 + base)
  }

  // Shifts every letter of the text by the key.
  static caesar(text, key) {
    return text.map {|letter| shift(letter, key) }.join()
  }
}

for (pair in [["Hello, World!", 3], ["Pack my box.", 13]]) {
  var text = pair[0]
  var key = pair[1]
  var secret = Cipher.caesar(text, key)
  System.print(secret)
  System.print(Cipher.caesar(secret, 26 - key))
}
