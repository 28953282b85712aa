// Encodes texts as counted runs of letters and decodes them again.

class RunLength {
  // Writes every run of a letter as its length and the letter.
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

  // Repeats every letter as often as the number before it says.
  static decode(code) {
    var text = ""
    var count = 0
    for (symbol in code) {
      var digit = Num.fromString(symbol)
      if (digit != null) {
        count = count * 10 + digit
      } else {
        text = text + symbol * count
        count = 0
      }
    }
    return text
  }
}

for (text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]) {
  var code = RunLength.encode(text)
  System.print("%(text) -> %(code) -> %(RunLength.decode(code))")
}
