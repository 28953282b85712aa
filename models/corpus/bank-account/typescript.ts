// Keeps a bank account that refuses wrong amounts.

class Account {
  readonly owner: string;
  balance: number;

  // Opens an empty account for its owner.
  constructor(owner: string) {
    this.owner = owner;
    this.balance = 0;
  }

  // Adds a positive amount to the balance.
  deposit(amount: number): void {
    if (amount <= 0) {
      throw new RangeError("invalid amount");
    }
    this.balance += amount;
  }

  // Takes a positive amount that the balance covers.
  withdraw(amount: number): void {
    if (amount <= 0) {
      throw new RangeError("invalid amount");
    }
    if (amount > this.balance) {
      throw new RangeError("insufficient funds");
    }
    this.balance -= amount;
  }
}

// Carries out one action and prints the new balance or the error.
function run(account: Account, action: "deposit" | "withdraw", amount: number): void {
  try {
    if (action === "deposit") {
      account.deposit(amount);
    } else {
      account.withdraw(amount);
    }
    console.log(`${action} ${amount}: balance ${account.balance}`);
  } catch (error) {
    console.log(`${action} ${amount}: ${(error as RangeError).message}`);
  }
}

// Runs five actions on one account.
function main(): void {
  const account = new Account("ada");
  run(account, "deposit", 100);
  run(account, "withdraw", 30);
  run(account, "withdraw", 100);
  run(account, "deposit", -5);
  run(account, "deposit", 50);
  console.log(`${account.owner} has ${account.balance}`);
}

main();
