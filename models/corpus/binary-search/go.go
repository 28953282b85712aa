// Finds numbers in a sorted list by halving the range that may hold them.
package main

import "fmt"

// Returns the index of target in the sorted values, or -1.
func binarySearch(values []int, target int) int {
	low := 0
	high := len(values) - 1
	for low <= high {
		middle := low + (high-low)/2
		if values[middle] == target {
			return middle
		}
		if values[middle] < target {
			low = middle + 1
		} else {
			high = middle - 1
		}
	}
	return -1
}

// Searches for five numbers, some of them absent.
func main() {
	values := []int{1, 3, 4, 6, 8, 9, 11, 15, 22}
	for _, target := range []int{6, 1, 22, 13, 0} {
		index := binarySearch(values, target)
		if index >= 0 {
			fmt.Printf("%d at %d\n", target, index)
		} else {
			fmt.Printf("%d not found\n", target)
		}
	}
}
