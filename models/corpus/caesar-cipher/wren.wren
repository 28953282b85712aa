// Encrypts and decrypts texts with the Caesar cipher.

class Cipher {
  // Moves a letter key places on in the alphabet; other signs stay.
  static shift(letter, key) {
    var code = letter.codePoints[0]
    var first = null
    if (code >= 97 && code <= 122) {
      first = 97
    } else if (code >= 65 && code <= 90) {
      first = 65
    } else {
      return letter
    }
    return String.fromCodePoint((code - first + key) % 26 + first)
  }

  // Shifts every letter of the text.
  static caesar(text, key) {
    return text.map {|letter| shift(letter, key) }.join()
  }
}

// Encrypts two texts and decrypts them again.
for (pair in [["Hello, World!", 3], ["Pack my box.", 13]]) {
  var secret = Cipher.caesar(pair[0], pair[1])
  System.print(secret)
  System.print(Cipher.caesar(secret, 26 - pair[1]))
}
