# Multiplies two matrices.

import std/strutils

type Matrix = seq[seq[int]]

# Returns the product of a and b, row by row.
func multiply(a, b: Matrix): Matrix =
  let (rows, inner, columns) = (a.len, b.len, b[0].len)
  for i in 0..<rows:
    result.add(newSeq[int](columns))
    for j in 0..<columns:
      for k in 0..<inner:
        result[i][j] += a[i][k] * b[k][j]

# Prints one row a line, its numbers joined by spaces.
proc printMatrix(matrix: Matrix) =
  for row in matrix:
    echo row.join(" ")

# Multiplies the matrices in both orders.
when isMainModule:
  let a = @[@[1, 2, 3], @[4, 5, 6]]
  let b = @[@[7, 8], @[9, 10], @[11, 12]]
  printMatrix(multiply(a, b))
  printMatrix(multiply(b, a))
