-- Counts how often each letter occurs in a text.

-- Turns a capital into the small letter; other signs stay.
def to_lower (sign: u8) : u8 =
  if sign >= 'A' && sign <= 'Z' then sign - 'A' + 'a' else sign

-- Returns 26 counts, from a to z; capitals count as small letters.
def count_letters [n] (text: [n]u8) : [26]i64 =
  let places = map (\sign -> i64.u8 (to_lower sign) - i64.u8 'a') text
  in hist (+) 0 26 places (replicate n 1)

-- Gives the letters that occur at least twice.
entry frequent_letters =
  let counts = count_letters "The quick brown fox jumps over the lazy dog again"
  let letters = map (\index -> 'a' + u8.i64 index) (iota 26)
  in unzip (filter (\(_, count) -> count >= 2) (zip letters counts))
