// Counts how often each letter occurs in a text.

class Letters {
  // Returns 26 counts, from a to z; capitals count as small letters.
  static countLetters(text) {
    var counts = List.filled(26, 0)
    for (code in text.codePoints) {
      if (code >= 65 && code <= 90) code = code + 32
      if (code >= 97 && code <= 122) counts[code - 97] = counts[code - 97] + 1
    }
    return counts
  }
}

// Prints the letters that occur at least twice.
var counts = Letters.countLetters("The quick brown fox jumps over the lazy dog again")
for (index in 0...26) {
  if (counts[index] >= 2) {
    var letter = String.fromCodePoint(97 + index)
    System.print("%(letter)=%(counts[index])")
  }
}
