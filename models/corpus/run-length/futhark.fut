-- Writes runs of equal letters as a count and the letter, and reads them back.

-- Writes a positive number in decimal digits.
def decimal (number: i64) : []u8 =
  let (digits, _) =
    loop (digits: []u8, rest: i64) = ([], number) while rest > 0 do
      ([u8.i64 (rest % 10) + '0'] ++ digits, rest / 10)
  in digits

-- Turns each run of equal letters into its length and the letter.
def encode [n] (text: [n]u8) : []u8 =
  let (code, _) =
    loop (code: []u8, start: i64) = ([], 0) while start < n do
      let stop = loop stop = start while stop < n && text[stop] == text[start] do stop + 1
      in (code ++ decimal (stop - start) ++ [text[start]], stop)
  in code

-- Repeats each letter as often as the count before it says.
def decode [n] (code: [n]u8) : []u8 =
  let (text, _) =
    loop (text: []u8, count: i64) = ([], 0) for sign in code do
      if sign >= '0' && sign <= '9'
      then (text, count * 10 + i64.u8 (sign - '0'))
      else (text ++ replicate count sign, 0)
  in text

-- Encodes and decodes three texts.
entry encode_four_two_one = encode "aaaabbc"
entry decode_four_two_one = decode (encode "aaaabbc")
entry encode_twelve_one = encode "wwwwwwwwwwwwb"
entry decode_twelve_one = decode (encode "wwwwwwwwwwwwb")
entry encode_single = encode "abc"
entry decode_single = decode (encode "abc")
