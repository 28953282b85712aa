// Multiplies two matrices.

type Matrix = Vec<Vec<i32>>;

// Returns the product of a and b, row by row.
fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    let (rows, inner, columns) = (a.len(), b.len(), b[0].len());
    let mut product = vec![vec![0; columns]; rows];
    for i in 0..rows {
        for j in 0..columns {
            for k in 0..inner {
                product[i][j] += a[i][k] * b[k][j];
            }
        }
    }
    product
}

// Prints one row a line, its numbers joined by spaces.
fn print_matrix(matrix: &Matrix) {
    for row in matrix {
        let numbers: Vec<String> = row.iter().map(i32::to_string).collect();
        println!("{}", numbers.join(" "));
    }
}

// Multiplies the matrices in both orders.
fn main() {
    let a = vec![vec![1, 2, 3], vec![4, 5, 6]];
    let b = vec![vec![7, 8], vec![9, 10], vec![11, 12]];
    print_matrix(&multiply(&a, &b));
    print_matrix(&multiply(&b, &a));
}
