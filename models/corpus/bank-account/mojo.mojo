# Keeps a bank account that refuses wrong amounts.


struct Account:
    var owner: String
    var balance: Int

    # Opens an empty account for its owner.
    def __init__(out self, owner: String):
        self.owner = owner
        self.balance = 0

    # Adds a positive amount to the balance.
    def deposit(mut self, amount: Int) raises:
        if amount <= 0:
            raise Error("invalid amount")
        self.balance += amount

    # Takes a positive amount that the balance covers.
    def withdraw(mut self, amount: Int) raises:
        if amount <= 0:
            raise Error("invalid amount")
        if amount > self.balance:
            raise Error("insufficient funds")
        self.balance -= amount


# Carries out one action and prints the new balance or the error.
def run(mut account: Account, action: String, amount: Int):
    try:
        if action == "deposit":
            account.deposit(amount)
        else:
            account.withdraw(amount)
        print(action, " ", amount, ": balance ", account.balance, sep="")
    except error:
        print(action, " ", amount, ": ", error, sep="")


# Runs five actions on one account.
def main():
    var account = Account("ada")
    run(account, "deposit", 100)
    run(account, "withdraw", 30)
    run(account, "withdraw", 100)
    run(account, "deposit", -5)
    run(account, "deposit", 50)
    print(account.owner, "has", account.balance)
