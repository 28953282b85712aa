-- Writes numbers as Roman numerals.

def numerals : [13](i64, [2]u8) =
  [ (1000, "M ")
  , (900, "CM")
  , (500, "D ")
  , (400, "CD")
  , (100, "C ")
  , (90, "XC")
  , (50, "L ")
  , (40, "XL")
  , (10, "X ")
  , (9, "IX")
  , (5, "V ")
  , (4, "IV")
  , (1, "I ")
  ]

-- Takes the largest numeral that fits until nothing is left.
def to_roman (number: i64) : []u8 =
  let (roman, _) =
    loop (roman: []u8, rest: i64) = ([], number) for (value, numeral) in numerals do
      loop (roman: []u8, rest: i64) = (roman, rest) while rest >= value do
        (roman ++ filter (!= ' ') numeral, rest - value)
  in roman

-- Writes six numbers.
entry roman_4 = to_roman 4
entry roman_9 = to_roman 9
entry roman_14 = to_roman 14
entry roman_90 = to_roman 90
entry roman_1994 = to_roman 1994
entry roman_2024 = to_roman 2024
