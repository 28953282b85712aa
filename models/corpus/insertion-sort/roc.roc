# Sorts lists of numbers by insertion.

# Moves each value left past all larger ones.
insertion_sort : List(I64) -> List(I64)
insertion_sort = |values| {
	var $sorted = values
	for (value, i) in values.map_with_index(|v, index| (v, index)) {
		var $j = i
		while $j > 0 and ($sorted.get($j - 1) ?? value) > value {
			$sorted = $sorted.swap($j - 1, $j) ?? $sorted
			$j = $j - 1
		}
	}
	$sorted
}

# Sorts three lists and prints them.
main! = |_args| {
	for values in [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]] {
		line = insertion_sort(values).map(I64.to_str) |> Str.join_with(" ")
		echo!("${line}\n")
	}
	Ok({})
}
