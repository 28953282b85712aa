# Counts how often each letter occurs in a text.

import std/strutils

# Returns 26 counts, from a to z; capitals count as small letters.
func countLetters(text: string): array['a'..'z', int] =
  for sign in text.toLowerAscii():
    if sign in 'a'..'z':
      inc result[sign]

# Prints the letters that occur at least twice.
when isMainModule:
  let counts = countLetters("The quick brown fox jumps over the lazy dog again")
  for letter, count in counts:
    if count >= 2:
      echo letter, "=", count
