# Measures how many edits turn one word into another.

# Levenshtein distance, with the last and the current row of the table only.
edit_distance : Str, Str -> U64
edit_distance = |a, b| {
	columns = b.to_utf8()
	var $last = List.from_iter(0..=columns.len())
	for letter in a.to_utf8() {
		var $row = [($last.first() ?? 0) + 1]
		for (column, j) in columns.map_with_index(|sign, index| (sign, index)) {
			cost = if letter == column { 0 } else { 1 }
			above = ($last.get(j + 1) ?? 0) + 1
			left = ($row.get(j) ?? 0) + 1
			diagonal = ($last.get(j) ?? 0) + cost
			$row = $row.append(above.min(left).min(diagonal))
		}
		$last = $row
	}
	$last.last() ?? 0
}

# Shows an empty word as a pair of quotes.
show : Str -> Str
show = |word| if word.is_empty() "\"\"" else word

# Compares four pairs of words.
main! = |_args| {
	pairs = [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]
	for (a, b) in pairs {
		echo!("${show(a)} ${show(b)} ${edit_distance(a, b).to_str()}\n")
	}
	Ok({})
}
