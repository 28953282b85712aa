// Multiplies two matrices.

#include <stdio.h>

// Stores the product of a and b in product, row by row.
void multiply(int rows, int inner, int columns, int a[rows][inner], int b[inner][columns], int product[rows][columns]) {
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            product[i][j] = 0;
            for (int k = 0; k < inner; k++) {
                product[i][j] += a[i][k] * b[k][j];
            }
        }
    }
}

// Prints one row a line, its numbers joined by spaces.
void print_matrix(int rows, int columns, int matrix[rows][columns]) {
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            printf(j > 0 ? " %d" : "%d", matrix[i][j]);
        }
        printf("\n");
    }
}

// Multiplies the matrices in both orders.
int main(void) {
    int a[2][3] = {{1, 2, 3}, {4, 5, 6}};
    int b[3][2] = {{7, 8}, {9, 10}, {11, 12}};
    int ab[2][2];
    int ba[3][3];
    multiply(2, 3, 2, a, b, ab);
    print_matrix(2, 2, ab);
    multiply(3, 2, 3, b, a, ba);
    print_matrix(3, 3, ba);
    return 0;
}
