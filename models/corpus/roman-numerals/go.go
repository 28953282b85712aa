// Writes numbers as Roman numerals.
package main

import "fmt"

var numerals = []struct {
	value   int
	numeral string
}{
	{1000, "M"},
	{900, "CM"},
	{500, "D"},
	{400, "CD"},
	{100, "C"},
	{90, "XC"},
	{50, "L"},
	{40, "XL"},
	{10, "X"},
	{9, "IX"},
	{5, "V"},
	{4, "IV"},
	{1, "I"},
}

// Takes the largest numeral that fits until nothing is left.
func toRoman(number int) string {
	roman := ""
	for _, entry := range numerals {
		for number >= entry.value {
			roman += entry.numeral
			number -= entry.value
		}
	}
	return roman
}

// Prints six numbers and their numerals.
func main() {
	for _, number := range []int{4, 9, 14, 90, 1994, 2024} {
		fmt.Printf("%d = %s\n", number, toRoman(number))
	}
}
