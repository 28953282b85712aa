// Multiplies two matrices in both orders.

class Matrix {
  // Returns the product of the matrices a and b.
  static multiply(a, b) {
    var product = []
    for (row in 0...a.count) {
      var cells = List.filled(b[0].count, 0)
      for (column in 0...b[0].count) {
        for (inner in 0...b.count) {
          cells[column] = cells[column] + a[row][inner] * b[inner][column]
        }
      }
      product.add(cells)
    }
    return product
  }
}

var a = [[1, 2, 3], [4, 5, 6]]
var b = [[7, 8], [9, 10], [11, 12]]
for (product in [Matrix.multiply(a, b), Matrix.multiply(b, a)]) {
  for (row in product) System.print(row.join(" "))
}
