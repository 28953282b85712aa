// Keeps a bank account that refuses wrong amounts.

#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

struct Account {
    const std::string owner;
    int balance = 0;

    // Opens an empty account for its owner.
    explicit Account(std::string owner) : owner(std::move(owner)) {}

    // Adds a positive amount to the balance.
    void deposit(int amount) {
        if (amount <= 0) {
            throw std::invalid_argument("invalid amount");
        }
        balance += amount;
    }

    // Takes a positive amount that the balance covers.
    void withdraw(int amount) {
        if (amount <= 0) {
            throw std::invalid_argument("invalid amount");
        }
        if (amount > balance) {
            throw std::invalid_argument("insufficient funds");
        }
        balance -= amount;
    }
};

// Carries out one action and prints the new balance or the error.
void run(Account& account, const std::string& action, int amount) {
    try {
        if (action == "deposit") {
            account.deposit(amount);
        } else {
            account.withdraw(amount);
        }
        std::cout << action << ' ' << amount << ": balance " << account.balance << '\n';
    } catch (const std::invalid_argument& error) {
        std::cout << action << ' ' << amount << ": " << error.what() << '\n';
    }
}

// Runs five actions on one account.
int main() {
    Account account("ada");
    run(account, "deposit", 100);
    run(account, "withdraw", 30);
    run(account, "withdraw", 100);
    run(account, "deposit", -5);
    run(account, "deposit", 50);
    std::cout << account.owner << " has " << account.balance << '\n';
}
