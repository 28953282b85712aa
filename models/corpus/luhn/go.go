// Checks numbers by the Luhn formula.
package main

import "fmt"

// Adds the digits from the right, every second one doubled (less 9 above 9).
func luhnSum(digits []int) int {
	total := 0
	for position := range digits {
		digit := digits[len(digits)-1-position]
		if position%2 == 1 {
			digit *= 2
			if digit > 9 {
				digit -= 9
			}
		}
		total += digit
	}
	return total
}

// Says whether a number, spaces allowed, passes the check.
func isValid(number string) bool {
	var digits []int
	for _, sign := range number {
		if sign == ' ' {
			continue
		}
		if sign < '0' || sign > '9' {
			return false
		}
		digits = append(digits, int(sign-'0'))
	}
	return len(digits) >= 2 && luhnSum(digits)%10 == 0
}

// Checks five numbers.
func main() {
	for _, number := range []string{"4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"} {
		verdict := "invalid"
		if isValid(number) {
			verdict = "valid"
		}
		fmt.Println(number, verdict)
	}
}
