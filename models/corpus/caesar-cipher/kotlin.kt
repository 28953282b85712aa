// Encrypts and decrypts texts with the Caesar cipher.

// Moves a letter key places on in the alphabet; other signs stay.
fun shift(letter: Char, key: Int): Char {
    val first = when (letter) {
        in 'a'..'z' -> 'a'
        in 'A'..'Z' -> 'A'
        else -> return letter
    }
    return first + (letter - first + key) % 26
}

// Shifts every letter of the text.
fun caesar(text: String, key: Int): String {
    return text.map { shift(it, key) }.joinToString("")
}

// Encrypts two texts and decrypts them again.
fun main() {
    for ((text, key) in listOf("Hello, World!" to 3, "Pack my box." to 13)) {
        val secret = caesar(text, key)
        println(secret)
        println(caesar(secret, 26 - key))
    }
}
