// Multiplies two matrices.
package main

import "fmt"

// Returns the product of a and b, row by row.
func multiply(a, b [][]int) [][]int {
	rows, inner, columns := len(a), len(b), len(b[0])
	product := make([][]int, rows)
	for i := range product {
		product[i] = make([]int, columns)
		for j := 0; j < columns; j++ {
			for k := 0; k < inner; k++ {
				product[i][j] += a[i][k] * b[k][j]
			}
		}
	}
	return product
}

// Prints one row a line, its numbers joined by spaces.
func printMatrix(matrix [][]int) {
	for _, row := range matrix {
		for i, number := range row {
			if i > 0 {
				fmt.Print(" ")
			}
			fmt.Print(number)
		}
		fmt.Println()
	}
}

// Multiplies the matrices in both orders.
func main() {
	a := [][]int{{1, 2, 3}, {4, 5, 6}}
	b := [][]int{{7, 8}, {9, 10}, {11, 12}}
	printMatrix(multiply(a, b))
	printMatrix(multiply(b, a))
}
