// Checks numbers against their Luhn check digit.

class Luhn {
  // Adds the digits, doubling every second one from the right.
  static luhnSum(digits) {
    var sum = 0
    for (index in 0...digits.count) {
      var digit = digits[-1 - index]
      if (index % 2 == 1) digit = digit * 2
      if (digit > 9) digit = digit - 9
      sum = sum + digit
    }
    return sum
  }

  // Tells whether the number has two or more digits and a sum ending in 0.
  static isValid(number) {
    var digits = []
    for (symbol in number.replace(" ", "")) {
      var digit = Num.fromString(symbol)
      if (digit == null) return false
      digits.add(digit)
    }
    return digits.count > 1 && luhnSum(digits) % 10 == 0
  }
}

var numbers = ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]
for (number in numbers) {
  System.print("%(number) %(Luhn.isValid(number) ? "valid" : "invalid")")
}
