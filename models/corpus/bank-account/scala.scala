// Keeps a bank account that refuses wrong amounts.
class Account(val owner: String) {
  var balance = 0

  // Adds a positive amount to the balance.
  def deposit(amount: Int): Either[String, Int] = {
    if (amount <= 0) {
      Left("invalid amount")
    } else {
      balance += amount
      Right(balance)
    }
  }

  // Takes a positive amount that the balance covers.
  def withdraw(amount: Int): Either[String, Int] = {
    if (amount <= 0) {
      Left("invalid amount")
    } else if (amount > balance) {
      Left("insufficient funds")
    } else {
      balance -= amount
      Right(balance)
    }
  }
}

object BankAccount {
  // Carries out one action and prints the new balance or the error.
  def run(account: Account, action: String, amount: Int): Unit = {
    val result = if (action == "deposit") account.deposit(amount) else account.withdraw(amount)
    result match {
      case Right(balance) => println(s"$action $amount: balance $balance")
      case Left(error) => println(s"$action $amount: $error")
    }
  }

  // Runs five actions on one account.
  def main(args: Array[String]): Unit = {
    val account = new Account("ada")
    run(account, "deposit", 100)
    run(account, "withdraw", 30)
    run(account, "withdraw", 100)
    run(account, "deposit", -5)
    run(account, "deposit", 50)
    println(s"${account.owner} has ${account.balance}")
  }
}
