# Checks numbers by the Luhn formula.

# Adds the digits from the right, every second one doubled (less 9 above 9).
luhn_sum : List(U8) -> U64
luhn_sum = |digits| {
	var $total = 0
	for (digit, position) in digits.rev().map_with_index(|d, index| (d, index)) {
		doubled = if position % 2 == 1 { digit * 2 } else { digit }
		added = if doubled > 9 { doubled - 9 } else { doubled }
		$total = $total + added.to_u64()
	}
	$total
}

# Says whether a number, spaces allowed, passes the check.
is_valid : Str -> Bool
is_valid = |number| {
	var $digits = []
	for sign in number.to_utf8() {
		if '0' <= sign and sign <= '9' {
			$digits = $digits.append(sign - '0')
		} else if sign != ' ' {
			return False
		}
	}
	$digits.len() >= 2 and luhn_sum($digits) % 10 == 0
}

# Checks five numbers.
main! = |_args| {
	for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"] {
		verdict = if is_valid(number) "valid" else "invalid"
		echo!("${number} ${verdict}\n")
	}
	Ok({})
}
