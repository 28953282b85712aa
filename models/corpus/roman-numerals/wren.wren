// Writes numbers as Roman numerals.

var Numerals = [
  [1000, "M"],
  [900, "CM"],
  [500, "D"],
  [400, "CD"],
  [100, "C"],
  [90, "XC"],
  [50, "L"],
  [40, "XL"],
  [10, "X"],
  [9, "IX"],
  [5, "V"],
  [4, "IV"],
  [1, "I"]
]

class Roman {
  // Takes the largest numeral that fits until nothing is left.
  static toRoman(number) {
    var roman = ""
    for (pair in Numerals) {
      while (number >= pair[0]) {
        roman = roman + pair[1]
        number = number - pair[0]
      }
    }
    return roman
  }
}

// Prints six numbers and their numerals.
for (number in [4, 9, 14, 90, 1994, 2024]) {
  System.print("%(number) = %(Roman.toRoman(number))")
}
