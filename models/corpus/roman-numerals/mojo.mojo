# Writes numbers as Roman numerals.

comptime NUMERALS = [
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
def to_roman(var number: Int) -> String:
    var roman = String()
    for value, numeral in materialize[NUMERALS]():
        while number >= value:
            roman += numeral
            number -= value
    return roman


# Prints six numbers and their numerals.
def main():
    for number in [4, 9, 14, 90, 1994, 2024]:
        print(number, "=", to_roman(number))
