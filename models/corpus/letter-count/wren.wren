// Counts the letters of a text and prints those that occur at least twice.

class Letters {
  // Returns how often each of the 26 letters occurs, whatever its case.
  static countLetters(text) {
    var counts = List.filled(26, 0)
    for (code in text.codePoints) {
      if (code >= 65 && code <= 90) code = code + 32
      if (code >= 97 && code <= 122) counts[code - 97] = counts[code - 97] + 1
    }
    return counts
  }
}

var text = "The quick brown fox jumps over the lazy dog again"
var counts = Letters.countLetters(text)
for (index in 0...26) {
  if (counts[index] >= 2) {
    System.print("%(String.fromCodePoint(97 + index))=%(counts[index])")
  }
}
