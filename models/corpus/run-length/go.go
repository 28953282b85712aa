// Writes runs of equal letters as a count and the letter, and reads them back.
package main

import (
	"fmt"
	"strings"
)

// Turns each run of equal letters into its length and the letter.
func encode(text string) string {
	var code strings.Builder
	start := 0
	for start < len(text) {
		end := start
		for end < len(text) && text[end] == text[start] {
			end++
		}
		fmt.Fprintf(&code, "%d%c", end-start, text[start])
		start = end
	}
	return code.String()
}

// Repeats each letter as often as the count before it says.
func decode(code string) string {
	var text strings.Builder
	count := 0
	for _, sign := range code {
		if sign >= '0' && sign <= '9' {
			count = count*10 + int(sign-'0')
		} else {
			text.WriteString(strings.Repeat(string(sign), count))
			count = 0
		}
	}
	return text.String()
}

// Encodes and decodes three texts.
func main() {
	for _, text := range []string{"aaaabbc", "wwwwwwwwwwwwb", "abc"} {
		code := encode(text)
		fmt.Printf("%s -> %s -> %s\n", text, code, decode(code))
	}
}
