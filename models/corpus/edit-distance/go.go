// Measures how many edits turn one word into another.
package main

import "fmt"

// Returns the smaller of two numbers.
func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// Levenshtein distance, with the last and the current row of the table only.
func editDistance(a, b string) int {
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(min(last[j]+1, row[j-1]+1), last[j-1]+cost)
		}
		last = row
	}
	return last[len(b)]
}

// Shows an empty word as a pair of quotes.
func show(word string) string {
	if word == "" {
		return `""`
	}
	return word
}

// Compares four pairs of words.
func main() {
	pairs := [][2]string{{"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}}
	for _, pair := range pairs {
		a, b := pair[0], pair[1]
		fmt.Println(show(a), show(b), editDistance(a, b))
	}
}
