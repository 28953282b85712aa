// Measures how many edits turn one word into another.

// Levenshtein distance, with the last and the current row of the table only.
function editDistance(a, b) {
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      row.push(Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost));
    }
    last = row;
  }
  return last[b.length];
}

// Shows an empty word as a pair of quotes.
function show(word) {
  return word === "" ? '""' : word;
}

// Compares four pairs of words.
function main() {
  const pairs = [
    ["kitten", "sitting"],
    ["flaw", "lawn"],
    ["", "abc"],
    ["gumbo", "gambol"],
  ];
  for (const [a, b] of pairs) {
    console.log(`${show(a)} ${show(b)} ${editDistance(a, b)}`);
  }
}

main();
