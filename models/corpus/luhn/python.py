# Checks numbers by the Luhn formula.


# Adds the digits from the right, every second one doubled (less 9 above 9).
def luhn_sum(digits: list[int]) -> int:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        if position % 2 == 1:
            digit *= 2
            if digit > 9:
                digit -= 9
        total += digit
    return total


# Says whether a number, spaces allowed, passes the check.
def is_valid(number: str) -> bool:
    digits = []
    for sign in number:
        if sign == " ":
            continue
        if not "0" <= sign <= "9":
            return False
        digits.append(int(sign))
    return len(digits) >= 2 and luhn_sum(digits) % 10 == 0


# Checks five numbers.
def main() -> None:
    for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]:
        verdict = "valid" if is_valid(number) else "invalid"
        print(f"{number} {verdict}")


if __name__ == "__main__":
    main()
