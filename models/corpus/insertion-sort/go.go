// Sorts lists of numbers by insertion.
package main

import "fmt"

// Moves each value left past all larger ones, in place.
func insertionSort(values []int) {
	for i := 1; i < len(values); i++ {
		value := values[i]
		j := i
		for j > 0 && values[j-1] > value {
			values[j] = values[j-1]
			j--
		}
		values[j] = value
	}
}

// Sorts three lists and prints them.
func main() {
	lists := [][]int{{5, 2, 9, 1, 5, 6}, {3}, {10, -2, 7, 0, -5}}
	for _, values := range lists {
		insertionSort(values)
		for i, value := range values {
			if i > 0 {
				fmt.Print(" ")
			}
			fmt.Print(value)
		}
		fmt.Println()
	}
}
