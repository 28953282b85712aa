# Multiplies two matrices.

Matrix : List(List(I64))

# Returns the product of a and b, row by row.
multiply : Matrix, Matrix -> Matrix
multiply = |a, b| {
	var $product = []
	for row in a {
		var $cells = (b.first() ?? []).map(|_| 0)
		for (number, others) in row.map2(b, |x, y| (x, y)) {
			$cells = $cells.map2(others, |cell, other| cell + number * other)
		}
		$product = $product.append($cells)
	}
	$product
}

# Prints one row a line, its numbers joined by spaces.
print_matrix! : Matrix => {}
print_matrix! = |matrix| {
	for row in matrix {
		line = row.map(I64.to_str) |> Str.join_with(" ")
		echo!("${line}\n")
	}
}

# Multiplies the matrices in both orders.
main! = |_args| {
	a = [[1, 2, 3], [4, 5, 6]]
	b = [[7, 8], [9, 10], [11, 12]]
	print_matrix!(multiply(a, b))
	print_matrix!(multiply(b, a))
	Ok({})
}
