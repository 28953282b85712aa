// Writes numbers as Roman numerals.

val NUMERALS = listOf(
    1000 to "M",
    900 to "CM",
    500 to "D",
    400 to "CD",
    100 to "C",
    90 to "XC",
    50 to "L",
    40 to "XL",
    10 to "X",
    9 to "IX",
    5 to "V",
    4 to "IV",
    1 to "I"
)

// Takes the largest numeral that fits until nothing is left.
fun toRoman(number: Int): String {
    var rest = number
    val roman = StringBuilder()
    for ((value, numeral) in NUMERALS) {
        while (rest >= value) {
            roman.append(numeral)
            rest -= value
        }
    }
    return roman.toString()
}

// Prints six numbers and their numerals.
fun main() {
    for (number in listOf(4, 9, 14, 90, 1994, 2024)) {
        println("$number = ${toRoman(number)}")
    }
}
