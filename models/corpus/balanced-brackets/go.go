// Checks whether the brackets in a text are balanced.
package main

import "fmt"

var openers = map[rune]rune{')': '(', ']': '[', '}': '{'}

// Keeps the open brackets on a stack; each closing one must match the last.
func isBalanced(text string) bool {
	var stack []rune
	for _, sign := range text {
		switch sign {
		case '(', '[', '{':
			stack = append(stack, sign)
		case ')', ']', '}':
			last := len(stack) - 1
			if last < 0 || stack[last] != openers[sign] {
				return false
			}
			stack = stack[:last]
		}
	}
	return len(stack) == 0
}

// Checks five texts.
func main() {
	for _, text := range []string{"([]{})", "([)]", "{a(b)c}", "((", ""} {
		verdict := "not balanced"
		if isBalanced(text) {
			verdict = "balanced"
		}
		fmt.Printf("\"%s\" %s\n", text, verdict)
	}
}
