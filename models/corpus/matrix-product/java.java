// Multiplies two matrices.

import java.util.Arrays;
import java.util.stream.Collectors;

class MatrixProduct {
    // Returns the product of a and b, row by row.
    static int[][] multiply(int[][] a, int[][] b) {
        int rows = a.length;
        int inner = b.length;
        int columns = b[0].length;
        int[][] product = new int[rows][columns];
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < columns; j++) {
                for (int k = 0; k < inner; k++) {
                    product[i][j] += a[i][k] * b[k][j];
                }
            }
        }
        return product;
    }

    // Prints one row a line, its numbers joined by spaces.
    static void printMatrix(int[][] matrix) {
        for (int[] row : matrix) {
            System.out.println(Arrays.stream(row).mapToObj(String::valueOf).collect(Collectors.joining(" ")));
        }
    }

    // Multiplies the matrices in both orders.
    public static void main(String[] args) {
        int[][] a = {{1, 2, 3}, {4, 5, 6}};
        int[][] b = {{7, 8}, {9, 10}, {11, 12}};
        printMatrix(multiply(a, b));
        printMatrix(multiply(b, a));
    }
}
