// Writes runs of equal letters as a count and the letter, and reads them back.

// Turns each run of equal letters into its length and the letter.
fun encode(text: String): String {
    val code = StringBuilder()
    var start = 0
    while (start < text.length) {
        var end = start
        while (end < text.length && text[end] == text[start]) {
            end++
        }
        code.append(end - start).append(text[start])
        start = end
    }
    return code.toString()
}

// Repeats each letter as often as the count before it says.
fun decode(code: String): String {
    val text = StringBuilder()
    var count = 0
    for (sign in code) {
        if (sign.isDigit()) {
            count = count * 10 + (sign - '0')
        } else {
            text.append(sign.toString().repeat(count))
            count = 0
        }
    }
    return text.toString()
}

// Encodes and decodes three texts.
fun main() {
    for (text in listOf("aaaabbc", "wwwwwwwwwwwwb", "abc")) {
        val code = encode(text)
        println("$text -> $code -> ${decode(code)}")
    }
}
