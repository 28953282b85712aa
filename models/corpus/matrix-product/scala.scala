// Multiplies two matrices.
object MatrixProduct {
  type Matrix = Array[Array[Int]]

  // Returns the product of a and b, row by row.
  def multiply(a: Matrix, b: Matrix): Matrix = {
    val (rows, inner, columns) = (a.length, b.length, b(0).length)
    val product = Array.ofDim[Int](rows, columns)
    for (i <- 0 until rows; j <- 0 until columns; k <- 0 until inner) {
      product(i)(j) += a(i)(k) * b(k)(j)
    }
    product
  }

  // Prints one row a line, its numbers joined by spaces.
  def printMatrix(matrix: Matrix): Unit = {
    for (row <- matrix) {
      println(row.mkString(" "))
    }
  }

  // Multiplies the matrices in both orders.
  def main(args: Array[String]): Unit = {
    val a = Array(Array(1, 2, 3), Array(4, 5, 6))
    val b = Array(Array(7, 8), Array(9, 10), Array(11, 12))
    printMatrix(multiply(a, b))
    printMatrix(multiply(b, a))
  }
}
