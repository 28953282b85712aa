# Multiplies two matrices.

comptime Matrix = List[List[Int]]


# Returns the product of a and b, row by row.
def multiply(a: Matrix, b: Matrix) -> Matrix:
    var rows = len(a)
    var inner = len(b)
    var columns = len(b[0])
    var product = Matrix(length=rows, fill=List[Int](length=columns, fill=0))
    for i in range(rows):
        for j in range(columns):
            for k in range(inner):
                product[i][j] += a[i][k] * b[k][j]
    return product^


# Prints one row a line, its numbers joined by spaces.
def print_matrix(matrix: Matrix):
    for ref row in matrix:
        print(String(" ").join(row))


# Multiplies the matrices in both orders.
def main():
    var a: Matrix = [[1, 2, 3], [4, 5, 6]]
    var b: Matrix = [[7, 8], [9, 10], [11, 12]]
    print_matrix(multiply(a, b))
    print_matrix(multiply(b, a))
