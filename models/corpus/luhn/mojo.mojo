# Checks numbers by the Luhn formula.


# Adds the digits from the right, every second one doubled (less 9 above 9).
def luhn_sum(digits: List[Int]) -> Int:
    var total = 0
    for position in range(len(digits)):
        var digit = digits[len(digits) - 1 - position]
        if position % 2 == 1:
            digit *= 2
            if digit > 9:
                digit -= 9
        total += digit
    return total


# Says whether a number, spaces allowed, passes the check.
def is_valid(number: String) -> Bool:
    var digits = List[Int]()
    for sign in number.codepoints():
        if Int(sign) == ord(" "):
            continue
        if not ord("0") <= Int(sign) <= ord("9"):
            return False
        digits.append(Int(sign) - ord("0"))
    return len(digits) >= 2 and luhn_sum(digits) % 10 == 0


# Checks five numbers.
def main():
    for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]:
        var verdict = "valid" if is_valid(number) else "invalid"
        print(number, verdict)
