// Keeps a bank account that refuses wrong amounts.

class Account(val owner: String) {
    var balance = 0
        private set

    // Adds a positive amount to the balance.
    fun deposit(amount: Int) {
        require(amount > 0) { "invalid amount" }
        balance += amount
    }

    // Takes a positive amount that the balance covers.
    fun withdraw(amount: Int) {
        require(amount > 0) { "invalid amount" }
        require(amount <= balance) { "insufficient funds" }
        balance -= amount
    }
}

// Carries out one action and prints the new balance or the error.
fun run(account: Account, action: String, amount: Int) {
    try {
        if (action == "deposit") {
            account.deposit(amount)
        } else {
            account.withdraw(amount)
        }
        println("$action $amount: balance ${account.balance}")
    } catch (error: IllegalArgumentException) {
        println("$action $amount: ${error.message}")
    }
}

// Runs five actions on one account.
fun main() {
    val account = Account("ada")
    run(account, "deposit", 100)
    run(account, "withdraw", 30)
    run(account, "withdraw", 100)
    run(account, "deposit", -5)
    run(account, "deposit", 50)
    println("${account.owner} has ${account.balance}")
}
