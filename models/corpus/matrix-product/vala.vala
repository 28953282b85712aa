// Multiplies two matrices.

// Returns the product of a and b, row by row.
int[,] multiply (int[,] a, int[,] b) {
    int rows = a.length[0];
    int inner = b.length[0];
    int columns = b.length[1];
    int[,] product = new int[rows, columns];
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            for (int k = 0; k < inner; k++) {
                product[i, j] += a[i, k] * b[k, j];
            }
        }
    }
    return product;
}

// Prints one row a line, its numbers joined by spaces.
void print_matrix (int[,] matrix) {
    for (int i = 0; i < matrix.length[0]; i++) {
        string[] words = {};
        for (int j = 0; j < matrix.length[1]; j++) {
            words += matrix[i, j].to_string ();
        }
        print ("%s\n", string.joinv (" ", words));
    }
}

// Multiplies the matrices in both orders.
void main () {
    int[,] a = { { 1, 2, 3 }, { 4, 5, 6 } };
    int[,] b = { { 7, 8 }, { 9, 10 }, { 11, 12 } };
    print_matrix (multiply (a, b));
    print_matrix (multiply (b, a));
}
