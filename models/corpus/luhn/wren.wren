// Checks numbers by the Luhn formula.

class Luhn {
  // Adds the digits from the right, every second one doubled (less 9 above 9).
  static luhnSum(digits) {
    var total = 0
    for (position in 0...digits.count) {
      var digit = digits[-1 - position]
      if (position % 2 == 1) {
        digit = digit * 2
        if (digit > 9) digit = digit - 9
      }
      total = total + digit
    }
    return total
  }

  // Says whether a number, spaces allowed, passes the check.
  static isValid(number) {
    var digits = []
    for (sign in number) {
      if (sign == " ") continue
      var digit = Num.fromString(sign)
      if (digit == null) return false
      digits.add(digit)
    }
    return digits.count >= 2 && luhnSum(digits) % 10 == 0
  }
}

// Checks five numbers.
for (number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]) {
  var verdict = Luhn.isValid(number) ? "valid" : "invalid"
  System.print("%(number) %(verdict)")
}
