// Keeps a bank account that refuses wrong amounts.
import gleam/int
import gleam/io

pub type Account {
  Account(owner: String, balance: Int)
}

pub type AccountError {
  InvalidAmount
  InsufficientFunds
}

// Opens an empty account for its owner.
pub fn open(owner: String) -> Account {
  Account(owner: owner, balance: 0)
}

// Adds a positive amount to the balance.
pub fn deposit(account: Account, amount: Int) -> Result(Account, AccountError) {
  case amount <= 0 {
    True -> Error(InvalidAmount)
    False -> Ok(Account(..account, balance: account.balance + amount))
  }
}

// Takes a positive amount that the balance covers.
pub fn withdraw(
  account: Account,
  amount: Int,
) -> Result(Account, AccountError) {
  case amount <= 0, amount > account.balance {
    True, _ -> Error(InvalidAmount)
    _, True -> Error(InsufficientFunds)
    _, _ -> Ok(Account(..account, balance: account.balance - amount))
  }
}

// Carries out one action and prints the new balance or the error.
fn run(account: Account, action: String, amount: Int) -> Account {
  let result = case action {
    "deposit" -> deposit(account, amount)
    _ -> withdraw(account, amount)
  }
  let message = case result {
    Ok(changed) -> "balance " <> int.to_string(changed.balance)
    Error(InvalidAmount) -> "invalid amount"
    Error(InsufficientFunds) -> "insufficient funds"
  }
  io.println(action <> " " <> int.to_string(amount) <> ": " <> message)
  case result {
    Ok(changed) -> changed
    Error(_) -> account
  }
}

// Runs five actions on one account.
pub fn main() -> Nil {
  let account =
    open("ada")
    |> run("deposit", 100)
    |> run("withdraw", 30)
    |> run("withdraw", 100)
    |> run("deposit", -5)
    |> run("deposit", 50)
  io.println(account.owner <> " has " <> int.to_string(account.balance))
}
