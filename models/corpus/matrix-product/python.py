# Multiplies two matrices.


# Returns the product of a and b, row by row.
def multiply(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    rows, inner, columns = len(a), len(b), len(b[0])
    product = [[0] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            for k in range(inner):
                product[i][j] += a[i][k] * b[k][j]
    return product


# Prints one row a line, its numbers joined by spaces.
def print_matrix(matrix: list[list[int]]) -> None:
    for row in matrix:
        print(" ".join(str(number) for number in row))


# Multiplies the matrices in both orders.
def main() -> None:
    a = [[1, 2, 3], [4, 5, 6]]
    b = [[7, 8], [9, 10], [11, 12]]
    print_matrix(multiply(a, b))
    print_matrix(multiply(b, a))


if __name__ == "__main__":
    main()
