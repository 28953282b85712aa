// Keeps a bank account that refuses wrong amounts.

struct Account {
    owner: String,
    balance: i32,
}

impl Account {
    // Opens an empty account for its owner.
    fn new(owner: &str) -> Self {
        Account { owner: owner.to_string(), balance: 0 }
    }

    // Adds a positive amount to the balance.
    fn deposit(&mut self, amount: i32) -> Result<(), &'static str> {
        if amount <= 0 {
            return Err("invalid amount");
        }
        self.balance += amount;
        Ok(())
    }

    // Takes a positive amount that the balance covers.
    fn withdraw(&mut self, amount: i32) -> Result<(), &'static str> {
        if amount <= 0 {
            return Err("invalid amount");
        }
        if amount > self.balance {
            return Err("insufficient funds");
        }
        self.balance -= amount;
        Ok(())
    }
}

// Carries out one action and prints the new balance or the error.
fn run(account: &mut Account, action: &str, amount: i32) {
    let result = if action == "deposit" {
        account.deposit(amount)
    } else {
        account.withdraw(amount)
    };
    match result {
        Ok(()) => println!("{action} {amount}: balance {}", account.balance),
        Err(error) => println!("{action} {amount}: {error}"),
    }
}

// Runs five actions on one account.
fn main() {
    let mut account = Account::new("ada");
    run(&mut account, "deposit", 100);
    run(&mut account, "withdraw", 30);
    run(&mut account, "withdraw", 100);
    run(&mut account, "deposit", -5);
    run(&mut account, "deposit", 50);
    println!("{} has {}", account.owner, account.balance);
}
