// Writes numbers as Roman numerals.

var Numerals = [
  [1000, "M"], [900, "CM"], [500, "D"], [400, "CD"],
  [100, "C"], [90, "XC"], [50, "L"], [40, "XL"],
  [10, "X"], [9, "IX"], [5, "V"], [4, "IV"], [1, "I"]
]

class Roman {
  // Takes the largest numeral that still fits, again and again.
  static toRoman(number) {
    var roman = ""
    var rest = number
    for (numeral in Numerals) {
      while (rest >= numeral[0]) {
        roman = roman + numeral[1]
        rest = rest - numeral[0]
      }
    }
    return roman
  }
}

for (number in [4, 9, 14, 90, 1994, 2024]) {
  System.print("%(number) = %(Roman.toRoman(number))")
}
