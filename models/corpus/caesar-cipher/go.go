// Encrypts and decrypts texts with the Caesar cipher.
package main

import (
	"fmt"
	"strings"
)

// Moves a letter key places on in the alphabet; other signs stay.
func shift(letter rune, key int) rune {
	var first rune
	switch {
	case letter >= 'a' && letter <= 'z':
		first = 'a'
	case letter >= 'A' && letter <= 'Z':
		first = 'A'
	default:
		return letter
	}
	return (letter-first+rune(key))%26 + first
}

// Shifts every letter of the text.
func caesar(text string, key int) string {
	return strings.Map(func(letter rune) rune { return shift(letter, key) }, text)
}

// Encrypts two texts and decrypts them again.
func main() {
	cases := []struct {
		text string
		key  int
	}{{"Hello, World!", 3}, {"Pack my box.", 13}}
	for _, c := range cases {
		secret := caesar(c.text, c.key)
		fmt.Println(secret)
		fmt.Println(caesar(secret, 26-c.key))
	}
}
