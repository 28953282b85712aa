# Writes runs of equal letters as a count and the letter, and reads them back.

import std/strutils

# Turns each run of equal letters into its length and the letter.
func encode(text: string): string =
  var start = 0
  while start < text.len:
    var stop = start
    while stop < text.len and text[stop] == text[start]:
      inc stop
    result.add($(stop - start) & text[start])
    start = stop

# Repeats each letter as often as the count before it says.
func decode(code: string): string =
  var count = 0
  for sign in code:
    if sign.isDigit():
      count = count * 10 + ord(sign) - ord('0')
    else:
      result.add(sign.repeat(count))
      count = 0

# Encodes and decodes three texts.
when isMainModule:
  for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]:
    let code = encode(text)
    echo text, " -> ", code, " -> ", decode(code)
