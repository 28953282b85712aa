// Multiplies two matrices.

typealias Matrix = Array<IntArray>

// Returns the product of a and b, row by row.
fun multiply(a: Matrix, b: Matrix): Matrix {
    val rows = a.size
    val inner = b.size
    val columns = b[0].size
    val product = Array(rows) { IntArray(columns) }
    for (i in 0 until rows) {
        for (j in 0 until columns) {
            for (k in 0 until inner) {
                product[i][j] += a[i][k] * b[k][j]
            }
        }
    }
    return product
}

// Prints one row a line, its numbers joined by spaces.
fun printMatrix(matrix: Matrix) {
    for (row in matrix) {
        println(row.joinToString(" "))
    }
}

// Multiplies the matrices in both orders.
fun main() {
    val a = arrayOf(intArrayOf(1, 2, 3), intArrayOf(4, 5, 6))
    val b = arrayOf(intArrayOf(7, 8), intArrayOf(9, 10), intArrayOf(11, 12))
    printMatrix(multiply(a, b))
    printMatrix(multiply(b, a))
}
