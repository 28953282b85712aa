// Keeps a bank account that refuses wrong amounts.

class Account {
  // Opens an empty account for its owner.
  construct new(owner) {
    _owner = owner
    _balance = 0
  }

  owner { _owner }
  balance { _balance }

  // Adds a positive amount to the balance.
  deposit(amount) {
    if (amount <= 0) Fiber.abort("invalid amount")
    _balance = _balance + amount
  }

  // Takes a positive amount that the balance covers.
  withdraw(amount) {
    if (amount <= 0) Fiber.abort("invalid amount")
    if (amount > _balance) Fiber.abort("insufficient funds")
    _balance = _balance - amount
  }

  // Carries out one action and prints the new balance or the error.
  run(action, amount) {
    var fiber = Fiber.new {
      if (action == "deposit") deposit(amount) else withdraw(amount)
    }
    fiber.try()
    if (fiber.error == null) {
      System.print("%(action) %(amount): balance %(balance)")
    } else {
      System.print("%(action) %(amount): %(fiber.error)")
    }
  }
}

// Runs five actions on one account.
var account = Account.new("ada")
account.run("deposit", 100)
account.run("withdraw", 30)
account.run("withdraw", 100)
account.run("deposit", -5)
account.run("deposit", 50)
System.print("%(account.owner) has %(account.balance)")
