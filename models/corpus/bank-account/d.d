// Keeps a bank account that refuses wrong amounts.

import std.exception : enforce;
import std.stdio;

class Account
{
    string owner;
    int balance;

    // Opens an empty account for its owner.
    this(string owner)
    {
        this.owner = owner;
    }

    // Adds a positive amount to the balance.
    void deposit(int amount)
    {
        enforce(amount > 0, "invalid amount");
        balance += amount;
    }

    // Takes a positive amount that the balance covers.
    void withdraw(int amount)
    {
        enforce(amount > 0, "invalid amount");
        enforce(amount <= balance, "insufficient funds");
        balance -= amount;
    }
}

// Carries out one action and prints the new balance or the error.
void run(Account account, string action, int amount)
{
    try
    {
        if (action == "deposit")
            account.deposit(amount);
        else
            account.withdraw(amount);
        writefln("%s %d: balance %d", action, amount, account.balance);
    }
    catch (Exception error)
    {
        writefln("%s %d: %s", action, amount, error.msg);
    }
}

// Runs five actions on one account.
void main()
{
    auto account = new Account("ada");
    account.run("deposit", 100);
    account.run("withdraw", 30);
    account.run("withdraw", 100);
    account.run("deposit", -5);
    account.run("deposit", 50);
    writefln("%s has %d", account.owner, account.balance);
}
