// Keeps a bank account that refuses wrong amounts.

#include <stdio.h>
#include <string.h>

struct account {
    const char *owner;
    int balance;
};

// Adds a positive amount to the balance; returns an error or NULL.
const char *deposit(struct account *account, int amount) {
    if (amount <= 0) {
        return "invalid amount";
    }
    account->balance += amount;
    return NULL;
}

// Takes a positive amount that the balance covers; returns an error or NULL.
const char *withdraw(struct account *account, int amount) {
    if (amount <= 0) {
        return "invalid amount";
    }
    if (amount > account->balance) {
        return "insufficient funds";
    }
    account->balance -= amount;
    return NULL;
}

// Carries out one action and prints the new balance or the error.
void run(struct account *account, const char *action, int amount) {
    const char *error;
    if (strcmp(action, "deposit") == 0) {
        error = deposit(account, amount);
    } else {
        error = withdraw(account, amount);
    }
    if (error == NULL) {
        printf("%s %d: balance %d\n", action, amount, account->balance);
    } else {
        printf("%s %d: %s\n", action, amount, error);
    }
}

// Runs five actions on one account.
int main(void) {
    struct account account = {"ada", 0};
    run(&account, "deposit", 100);
    run(&account, "withdraw", 30);
    run(&account, "withdraw", 100);
    run(&account, "deposit", -5);
    run(&account, "deposit", 50);
    printf("%s has %d\n", account.owner, account.balance);
    return 0;
}
