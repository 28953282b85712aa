# Writes runs of equal letters as a count and the letter, and reads them back.

# Turns each run of equal letters into its length and the letter.
encode : Str -> Str
encode = |text| {
	letters = text.to_utf8()
	var $code = ""
	var $start = 0
	while $start < letters.len() {
		var $end = $start
		while letters.get($end) == letters.get($start) {
			$end = $end + 1
		}
		letter = Str.from_utf8_lossy(letters.sublist({ start: $start, len: 1 }))
		$code = "${$code}${($end - $start).to_str()}${letter}"
		$start = $end
	}
	$code
}

# Repeats each letter as often as the count before it says.
decode : Str -> Str
decode = |code| {
	var $text = ""
	var $count = 0
	for sign in code.to_utf8() {
		if '0' <= sign and sign <= '9' {
			$count = $count * 10 + (sign - '0').to_u64()
		} else {
			letter = Str.from_utf8_lossy([sign])
			$text = $text.concat(letter.repeat($count))
			$count = 0
		}
	}
	$text
}

# Encodes and decodes three texts.
main! = |_args| {
	for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"] {
		code = encode(text)
		echo!("${text} -> ${code} -> ${decode(code)}\n")
	}
	Ok({})
}
