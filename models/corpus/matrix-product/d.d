// Multiplies two matrices.

import std.stdio;

// Returns the product of a and b, row by row.
int[][] multiply(int[][] a, int[][] b)
{
    const rows = a.length, inner = b.length, columns = b[0].length;
    auto product = new int[][](rows, columns);
    foreach (i; 0 .. rows)
        foreach (j; 0 .. columns)
            foreach (k; 0 .. inner)
                product[i][j] += a[i][k] * b[k][j];
    return product;
}

// Prints one row a line, its numbers joined by spaces.
void printMatrix(int[][] matrix)
{
    foreach (row; matrix)
        writefln("%(%d %)", row);
}

// Multiplies the matrices in both orders.
void main()
{
    auto a = [[1, 2, 3], [4, 5, 6]];
    auto b = [[7, 8], [9, 10], [11, 12]];
    printMatrix(multiply(a, b));
    printMatrix(multiply(b, a));
}
