# Checks numbers by the Luhn formula.

# Adds the digits from the right, every second one doubled (less 9 above 9).
func luhnSum(digits: seq[int]): int =
  for position in 0..digits.high:
    var digit = digits[^(position + 1)]
    if position mod 2 == 1:
      digit *= 2
      if digit > 9:
        digit -= 9
    result += digit

# Says whether a number, spaces allowed, passes the check.
func isValid(number: string): bool =
  var digits: seq[int]
  for sign in number:
    if sign == ' ':
      continue
    if sign notin '0'..'9':
      return false
    digits.add(ord(sign) - ord('0'))
  digits.len >= 2 and luhnSum(digits) mod 10 == 0

# Checks five numbers.
when isMainModule:
  for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]:
    let verdict = if isValid(number): "valid" else: "invalid"
    echo number, " ", verdict
