# Writes numbers as Roman numerals.

const NUMERALS = [
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
function to_roman(number)
    roman = ""
    for (value, numeral) in NUMERALS
        while number >= value
            roman *= numeral
            number -= value
        end
    end
    return roman
end

# Prints six numbers and their numerals.
function main()
    for number in [4, 9, 14, 90, 1994, 2024]
        println("$number = $(to_roman(number))")
    end
end

main()
