// Moves money on a bank account and reports what is refused.

class Account {
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
}

var account = Account.new("ada")
var steps = [
  ["deposit", 100], ["withdraw", 30], ["withdraw", 100], ["deposit", -5], ["deposit", 50]
]
for (step in steps) {
  var action = step[0]
  var amount = step[1]
  var fiber = Fiber.new {
    if (action == "deposit") account.deposit(amount) else account.withdraw(amount)
  }
  fiber.try()
  var result = fiber.error == null ? "balance %(account.balance)" : fiber.error
  System.print("%(action) %(amount): %(result)")
}
System.print("%(account.owner) has %(account.balance)")
