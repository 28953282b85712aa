// Keeps a bank account that refuses wrong amounts.

errordomain AccountError {
    INVALID_AMOUNT,
    INSUFFICIENT_FUNDS
}

class Account : Object {
    public string owner { get; construct; }
    public int balance { get; private set; default = 0; }

    // Opens an empty account for its owner.
    public Account (string owner) {
        Object (owner: owner);
    }

    // Adds a positive amount to the balance.
    public void deposit (int amount) throws AccountError {
        if (amount <= 0) {
            throw new AccountError.INVALID_AMOUNT ("invalid amount");
        }
        balance += amount;
    }

    // Takes a positive amount that the balance covers.
    public void withdraw (int amount) throws AccountError {
        if (amount <= 0) {
            throw new AccountError.INVALID_AMOUNT ("invalid amount");
        }
        if (amount > balance) {
            throw new AccountError.INSUFFICIENT_FUNDS ("insufficient funds");
        }
        balance -= amount;
    }
}

// Carries out one action and prints the new balance or the error.
void run (Account account, string action, int amount) {
    try {
        if (action == "deposit") {
            account.deposit (amount);
        } else {
            account.withdraw (amount);
        }
        print ("%s %d: balance %d\n", action, amount, account.balance);
    } catch (AccountError error) {
        print ("%s %d: %s\n", action, amount, error.message);
    }
}

// Runs five actions on one account.
void main () {
    var account = new Account ("ada");
    run (account, "deposit", 100);
    run (account, "withdraw", 30);
    run (account, "withdraw", 100);
    run (account, "deposit", -5);
    run (account, "deposit", 50);
    print ("%s has %d\n", account.owner, account.balance);
}
