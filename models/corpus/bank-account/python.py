# Keeps a bank account that refuses wrong amounts.


class Account:
    # Opens an empty account for its owner.
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    # Adds a positive amount to the balance.
    def deposit(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("invalid amount")
        self.balance += amount

    # Takes a positive amount that the balance covers.
    def withdraw(self, amount: int) -> None:
        if amount <= 0:
            raise ValueError("invalid amount")
        if amount > self.balance:
            raise ValueError("insufficient funds")
        self.balance -= amount


# Carries out one action and prints the new balance or the error.
def run(account: Account, action: str, amount: int) -> None:
    try:
        if action == "deposit":
            account.deposit(amount)
        else:
            account.withdraw(amount)
        print(f"{action} {amount}: balance {account.balance}")
    except ValueError as error:
        print(f"{action} {amount}: {error}")


# Runs five actions on one account.
def main() -> None:
    account = Account("ada")
    run(account, "deposit", 100)
    run(account, "withdraw", 30)
    run(account, "withdraw", 100)
    run(account, "deposit", -5)
    run(account, "deposit", 50)
    print(f"{account.owner} has {account.balance}")


if __name__ == "__main__":
    main()
