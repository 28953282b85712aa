// Counts how often each letter occurs in a text.
package main

import (
	"fmt"
	"strings"
)

// Returns 26 counts, from a to z; capitals count as small letters.
func countLetters(text string) [26]int {
	var counts [26]int
	for _, sign := range strings.ToLower(text) {
		if sign >= 'a' && sign <= 'z' {
			counts[sign-'a']++
		}
	}
	return counts
}

// Prints the letters that occur at least twice.
func main() {
	counts := countLetters("The quick brown fox jumps over the lazy dog again")
	for index, count := range counts {
		if count >= 2 {
			letter := 'a' + rune(index)
			fmt.Printf("%c=%d\n", letter, count)
		}
	}
}
