// Encrypts and decrypts texts with the Caesar cipher.
object CaesarCipher {
  // Moves a letter key places on in the alphabet; other signs stay.
  def shift(letter: Char, key: Int): Char = {
    def rotate(first: Char): Char = ((letter - first + key) % 26 + first).toChar
    if (letter >= 'a' && letter <= 'z') rotate('a')
    else if (letter >= 'A' && letter <= 'Z') rotate('A')
    else letter
  }

  // Shifts every letter of the text.
  def caesar(text: String, key: Int): String = text.map(letter => shift(letter, key))

  // Encrypts two texts and decrypts them again.
  def main(args: Array[String]): Unit = {
    for ((text, key) <- List(("Hello, World!", 3), ("Pack my box.", 13))) {
      val secret = caesar(text, key)
      println(secret)
      println(caesar(secret, 26 - key))
    }
  }
}
