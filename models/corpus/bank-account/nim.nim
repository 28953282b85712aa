# Keeps a bank account that refuses wrong amounts.

type Account = object
  owner: string
  balance: int

# Opens an empty account for its owner.
func initAccount(owner: string): Account =
  Account(owner: owner, balance: 0)

# Adds a positive amount to the balance.
proc deposit(account: var Account, amount: int) =
  if amount <= 0:
    raise newException(ValueError, "invalid amount")
  account.balance += amount

# Takes a positive amount that the balance covers.
proc withdraw(account: var Account, amount: int) =
  if amount <= 0:
    raise newException(ValueError, "invalid amount")
  if amount > account.balance:
    raise newException(ValueError, "insufficient funds")
  account.balance -= amount

# Carries out one action and prints the new balance or the error.
proc run(account: var Account, action: string, amount: int) =
  try:
    if action == "deposit":
      account.deposit(amount)
    else:
      account.withdraw(amount)
    echo action, " ", amount, ": balance ", account.balance
  except ValueError as error:
    echo action, " ", amount, ": ", error.msg

# Runs five actions on one account.
when isMainModule:
  var account = initAccount("ada")
  account.run("deposit", 100)
  account.run("withdraw", 30)
  account.run("withdraw", 100)
  account.run("deposit", -5)
  account.run("deposit", 50)
  echo account.owner, " has ", account.balance
