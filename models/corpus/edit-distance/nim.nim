# Measures how many edits turn one word into another.

# Levenshtein distance, with the last and the current row of the table only.
func editDistance(a, b: string): int =
  var last = newSeq[int](b.len + 1)
  for j in 0..b.len:
    last[j] = j
  for i in 1..a.len:
    var row = newSeq[int](b.len + 1)
    row[0] = i
    for j in 1..b.len:
      let cost = if a[i - 1] == b[j - 1]: 0 else: 1
      row[j] = min([last[j] + 1, row[j - 1] + 1, last[j - 1] + cost])
    last = row
  last[b.len]

# Shows an empty word as a pair of quotes.
func show(word: string): string =
  if word.len > 0: word else: "\"\""

# Compares four pairs of words.
when isMainModule:
  for (a, b) in [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]:
    echo show(a), " ", show(b), " ", editDistance(a, b)
