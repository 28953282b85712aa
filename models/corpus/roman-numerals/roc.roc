# Writes numbers as Roman numerals.

numerals : List((U64, Str))
numerals = [
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
to_roman : U64 -> Str
to_roman = |number| {
	var $roman = ""
	var $rest = number
	for (value, numeral) in numerals {
		while $rest >= value {
			$roman = $roman.concat(numeral)
			$rest = $rest - value
		}
	}
	$roman
}

# Prints six numbers and their numerals.
main! = |_args| {
	for number in [4, 9, 14, 90, 1994, 2024] {
		echo!("${number.to_str()} = ${to_roman(number)}\n")
	}
	Ok({})
}
