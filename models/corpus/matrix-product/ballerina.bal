// Multiplies two matrices.

import ballerina/io;

// Returns the product of a and b, row by row.
function multiply(int[][] a, int[][] b) returns int[][] {
    int rows = a.length();
    int inner = b.length();
    int columns = b[0].length();
    int[][] product = [];
    foreach int i in 0 ..< rows {
        int[] row = [];
        foreach int j in 0 ..< columns {
            int sum = 0;
            foreach int k in 0 ..< inner {
                sum += a[i][k] * b[k][j];
            }
            row.push(sum);
        }
        product.push(row);
    }
    return product;
}

// Prints one row a line, its numbers joined by spaces.
function printMatrix(int[][] matrix) {
    foreach int[] row in matrix {
        io:println(string:'join(" ", ...row.map(number => number.toString())));
    }
}

// Multiplies the matrices in both orders.
public function main() {
    int[][] a = [[1, 2, 3], [4, 5, 6]];
    int[][] b = [[7, 8], [9, 10], [11, 12]];
    printMatrix(multiply(a, b));
    printMatrix(multiply(b, a));
}
