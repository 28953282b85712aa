# Writes numbers as Roman numerals.

const numerals = [
  (1000, "M"),
  (900, "CM"),
  (500, "D"),
  (400, "CD"),
  (100, "C"),
  (90, "XC"),
  (50, "L"),
  (40, "XL"),
  (10, "X"),
  (9, "IX"),
  (5, "V"),
  (4, "IV"),
  (1, "I"),
]

# Takes the largest numeral that fits until nothing is left.
func toRoman(number: int): string =
  var number = number
  for (value, numeral) in numerals:
    while number >= value:
      result.add(numeral)
      number -= value

# Prints six numbers and their numerals.
when isMainModule:
  for number in [4, 9, 14, 90, 1994, 2024]:
    echo number, " = ", toRoman(number)
