// Counts how often each letter occurs in a text.

// Returns 26 counts, from a to z; capitals count as small letters.
function countLetters(text: string): number[] {
  const counts: number[] = new Array(26).fill(0);
  for (const sign of text.toLowerCase()) {
    if (sign >= "a" && sign <= "z") {
      counts[sign.charCodeAt(0) - "a".charCodeAt(0)]++;
    }
  }
  return counts;
}

// Prints the letters that occur at least twice.
function main(): void {
  const counts = countLetters("The quick brown fox jumps over the lazy dog again");
  counts.forEach((count, index) => {
    if (count >= 2) {
      const letter = String.fromCharCode("a".charCodeAt(0) + index);
      console.log(`${letter}=${count}`);
    }
  });
}

main();
