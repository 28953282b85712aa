// Multiplies two matrices.
import gleam/int
import gleam/io
import gleam/list
import gleam/string

// Returns the product of a and b, row by row.
pub fn multiply(a: List(List(Int)), b: List(List(Int))) -> List(List(Int)) {
  let columns = list.transpose(b)
  list.map(a, fn(row) {
    list.map(columns, fn(column) {
      list.map2(row, column, int.multiply)
      |> int.sum
    })
  })
}

// Prints one row a line, its numbers joined by spaces.
pub fn print_matrix(matrix: List(List(Int))) -> Nil {
  list.each(matrix, fn(row) {
    row
    |> list.map(int.to_string)
    |> string.join(" ")
    |> io.println
  })
}

// Multiplies the matrices in both orders.
pub fn main() -> Nil {
  let a = [[1, 2, 3], [4, 5, 6]]
  let b = [[7, 8], [9, 10], [11, 12]]
  print_matrix(multiply(a, b))
  print_matrix(multiply(b, a))
}
