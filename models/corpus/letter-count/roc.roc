# Counts how often each letter occurs in a text.

alphabet : List(U8)
alphabet = "abcdefghijklmnopqrstuvwxyz".to_utf8()

# Returns 26 counts, from a to z; capitals count as small letters.
count_letters : Str -> List(U64)
count_letters = |text| {
	var $counts = List.repeat(0, 26)
	for sign in text.with_ascii_lowercased().to_utf8() {
		if 'a' <= sign and sign <= 'z' {
			index = (sign - 'a').to_u64()
			$counts = $counts.update(index, |count| count + 1) ?? $counts
		}
	}
	$counts
}

# Prints the letters that occur at least twice.
main! = |_args| {
	counts = count_letters("The quick brown fox jumps over the lazy dog again")
	for (letter, count) in alphabet.map2(counts, |x, y| (x, y)) {
		if count >= 2 {
			echo!("${Str.from_utf8_lossy([letter])}=${count.to_str()}\n")
		}
	}
	Ok({})
}
