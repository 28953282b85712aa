// Measures how many edits turn one word into another.

class Edits {
  // Levenshtein distance, with the last and the current row of the table only.
  static editDistance(a, b) {
    var last = (0..b.count).toList
    for (i in 1...a.count + 1) {
      var row = [i]
      for (j in 1...b.count + 1) {
        var cost = a[i - 1] == b[j - 1] ? 0 : 1
        row.add((last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost))
      }
      last = row
    }
    return last[b.count]
  }

  // Shows an empty word as a pair of quotes.
  static show(word) { word.isEmpty ? "\"\"" : word }
}

// Compares four pairs of words.
for (pair in [["kitten", "sitting"], ["flaw", "lawn"], ["", "abc"], ["gumbo", "gambol"]]) {
  var a = pair[0]
  var b = pair[1]
  System.print("%(Edits.show(a)) %(Edits.show(b)) %(Edits.editDistance(a, b))")
}
