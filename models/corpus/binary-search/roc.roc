# Finds numbers in a sorted list by halving the range that may hold them.

# Returns the index of target in the sorted values, or NotFound.
binary_search : List(I64), I64 -> Try(U64, [NotFound])
binary_search = |values, target| {
	var $low = 0
	var $high = values.len()
	while $low < $high {
		middle = ($low + $high) // 2
		value = values.get(middle) ?? target
		if value == target {
			return Ok(middle)
		}
		if value < target {
			$low = middle + 1
		} else {
			$high = middle
		}
	}
	Err(NotFound)
}

# Searches for five numbers, some of them absent.
main! = |_args| {
	values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
	for target in [6, 1, 22, 13, 0] {
		match binary_search(values, target) {
			Ok(index) => echo!("${target.to_str()} at ${index.to_str()}\n")
			Err(NotFound) => echo!("${target.to_str()} not found\n")
		}
	}
	Ok({})
}
