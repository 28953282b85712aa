// Counts the edits that turn one word into another.

class Edits {
  // Returns the Levenshtein distance of a and b, keeping two rows.
  static editDistance(a, b) {
    var previous = (0..b.count).toList
    for (i in 0...a.count) {
      var current = [i + 1]
      for (j in 0...b.count) {
        var cost = a[i] == b[j] ? 0 : 1
        var replaced = previous[j] + cost
        var edited = previous[j + 1].min(current[j]) + 1
        current.add(replaced.min(edited))
      }
      previous = current
    }
    return previous[-1]
  }
}

var pairs = [["kitten", "sitting"], ["flaw", "lawn"], ["", "abc"], ["gumbo", "gambol"]]
for (pair in pairs) {
  var shown = pair.map {|word| word.isEmpty ? "\"\"" : word }.join(" ")
  System.print("%(shown) %(Edits.editDistance(pair[0], pair[1]))")
}
