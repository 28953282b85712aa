// Checks numbers by the Luhn formula.

// Adds the digits from the right, every second one doubled (less 9 above 9).
fun luhnSum(digits: List<Int>): Int {
    var total = 0
    for ((position, value) in digits.reversed().withIndex()) {
        var digit = value
        if (position % 2 == 1) {
            digit *= 2
            if (digit > 9) {
                digit -= 9
            }
        }
        total += digit
    }
    return total
}

// Says whether a number, spaces allowed, passes the check.
fun isValid(number: String): Boolean {
    val digits = mutableListOf<Int>()
    for (sign in number) {
        if (sign == ' ') {
            continue
        }
        if (sign !in '0'..'9') {
            return false
        }
        digits.add(sign - '0')
    }
    return digits.size >= 2 && luhnSum(digits) % 10 == 0
}

// Checks five numbers.
fun main() {
    for (number in listOf("4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9")) {
        val verdict = if (isValid(number)) "valid" else "invalid"
        println("$number $verdict")
    }
}
