// Keeps a bank account that refuses wrong amounts.
package main

import (
	"errors"
	"fmt"
)

type Account struct {
	owner   string
	balance int
}

// Adds a positive amount to the balance.
func (account *Account) deposit(amount int) error {
	if amount <= 0 {
		return errors.New("invalid amount")
	}
	account.balance += amount
	return nil
}

// Takes a positive amount that the balance covers.
func (account *Account) withdraw(amount int) error {
	if amount <= 0 {
		return errors.New("invalid amount")
	}
	if amount > account.balance {
		return errors.New("insufficient funds")
	}
	account.balance -= amount
	return nil
}

// Carries out one action and prints the new balance or the error.
func run(account *Account, action string, amount int) {
	var err error
	if action == "deposit" {
		err = account.deposit(amount)
	} else {
		err = account.withdraw(amount)
	}
	if err != nil {
		fmt.Printf("%s %d: %v\n", action, amount, err)
		return
	}
	fmt.Printf("%s %d: balance %d\n", action, amount, account.balance)
}

// Runs five actions on one account.
func main() {
	account := &Account{owner: "ada"}
	run(account, "deposit", 100)
	run(account, "withdraw", 30)
	run(account, "withdraw", 100)
	run(account, "deposit", -5)
	run(account, "deposit", 50)
	fmt.Printf("%s has %d\n", account.owner, account.balance)
}
