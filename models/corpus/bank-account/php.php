<?php
// Keeps a bank account that refuses wrong amounts.

class Account
{
    public int $balance = 0;

    // Opens an empty account for its owner.
    public function __construct(public readonly string $owner)
    {
    }

    // Adds a positive amount to the balance.
    public function deposit(int $amount): void
    {
        if ($amount <= 0) {
            throw new InvalidArgumentException('invalid amount');
        }
        $this->balance += $amount;
    }

    // Takes a positive amount that the balance covers.
    public function withdraw(int $amount): void
    {
        if ($amount <= 0) {
            throw new InvalidArgumentException('invalid amount');
        }
        if ($amount > $this->balance) {
            throw new InvalidArgumentException('insufficient funds');
        }
        $this->balance -= $amount;
    }
}

// Carries out one action and prints the new balance or the error.
function run(Account $account, string $action, int $amount): void
{
    try {
        if ($action === 'deposit') {
            $account->deposit($amount);
        } else {
            $account->withdraw($amount);
        }
        echo "$action $amount: balance {$account->balance}\n";
    } catch (InvalidArgumentException $error) {
        echo "$action $amount: {$error->getMessage()}\n";
    }
}

// Runs five actions on one account.
function main(): void
{
    $account = new Account('ada');
    run($account, 'deposit', 100);
    run($account, 'withdraw', 30);
    run($account, 'withdraw', 100);
    run($account, 'deposit', -5);
    run($account, 'deposit', 50);
    echo "{$account->owner} has {$account->balance}\n";
}

main();
