// Writes runs of equal letters as a count and the letter, and reads them back.

class RunLength {
  // Turns each run of equal letters into its length and the letter.
  static encode(text) {
    var code = ""
    var start = 0
    while (start < text.count) {
      var end = start
      while (end < text.count && text[end] == text[start]) end = end + 1
      code = code + "%(end - start)%(text[start])"
      start = end
    }
    return code
  }

  // Repeats each letter as often as the count before it says.
  static decode(code) {
    var text = ""
    var count = 0
    for (sign in code) {
      var digit = Num.fromString(sign)
      if (digit != null) {
        count = count * 10 + digit
      } else {
        text = text + sign * count
        count = 0
      }
    }
    return text
  }
}

// Encodes and decodes three texts.
for (text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]) {
  var code = RunLength.encode(text)
  System.print("%(text) -> %(code) -> %(RunLength.decode(code))")
}
