// Multiplies two matrices.

class Matrix {
  // Returns the product of a and b, row by row.
  static multiply(a, b) {
    var product = []
    for (i in 0...a.count) {
      product.add(List.filled(b[0].count, 0))
      for (j in 0...b[0].count) {
        for (k in 0...b.count) {
          product[i][j] = product[i][j] + a[i][k] * b[k][j]
        }
      }
    }
    return product
  }

  // Prints one row a line, its numbers joined by spaces.
  static print(matrix) {
    for (row in matrix) System.print(row.join(" "))
  }
}

// Multiplies the matrices in both orders.
var a = [[1, 2, 3], [4, 5, 6]]
var b = [[7, 8], [9, 10], [11, 12]]
Matrix.print(Matrix.multiply(a, b))
Matrix.print(Matrix.multiply(b, a))
