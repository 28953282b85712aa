// Multiplies two matrices.

type Matrix = number[][];

// Returns the product of a and b, row by row.
function multiply(a: Matrix, b: Matrix): Matrix {
  const [rows, inner, columns] = [a.length, b.length, b[0].length];
  const product: Matrix = [];
  for (let i = 0; i < rows; i++) {
    product.push(new Array(columns).fill(0));
    for (let j = 0; j < columns; j++) {
      for (let k = 0; k < inner; k++) {
        product[i][j] += a[i][k] * b[k][j];
      }
    }
  }
  return product;
}

// Prints one row a line, its numbers joined by spaces.
function printMatrix(matrix: Matrix): void {
  for (const row of matrix) {
    console.log(row.join(" "));
  }
}

// Multiplies the matrices in both orders.
function main(): void {
  const a: Matrix = [[1, 2, 3], [4, 5, 6]];
  const b: Matrix = [[7, 8], [9, 10], [11, 12]];
  printMatrix(multiply(a, b));
  printMatrix(multiply(b, a));
}

main();
