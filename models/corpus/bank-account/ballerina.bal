// Keeps a bank account that refuses wrong amounts.

import ballerina/io;

class Account {
    final string owner;
    int balance = 0;

    // Opens an empty account for its owner.
    function init(string owner) {
        self.owner = owner;
    }

    // Adds a positive amount to the balance.
    function deposit(int amount) returns error? {
        if amount <= 0 {
            return error("invalid amount");
        }
        self.balance += amount;
    }

    // Takes a positive amount that the balance covers.
    function withdraw(int amount) returns error? {
        if amount <= 0 {
            return error("invalid amount");
        }
        if amount > self.balance {
            return error("insufficient funds");
        }
        self.balance -= amount;
    }
}

// Carries out one action and prints the new balance or the error.
function run(Account account, string action, int amount) {
    error? outcome = action == "deposit" ? account.deposit(amount) : account.withdraw(amount);
    if outcome is error {
        io:println(string `${action} ${amount}: ${outcome.message()}`);
    } else {
        io:println(string `${action} ${amount}: balance ${account.balance}`);
    }
}

// Runs five actions on one account.
public function main() {
    Account account = new ("ada");
    run(account, "deposit", 100);
    run(account, "withdraw", 30);
    run(account, "withdraw", 100);
    run(account, "deposit", -5);
    run(account, "deposit", 50);
    io:println(string `${account.owner} has ${account.balance}`);
}
