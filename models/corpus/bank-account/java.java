// Keeps a bank account that refuses wrong amounts.
class BankAccount {
    static class Account {
        final String owner;
        int balance = 0;

        // Opens an empty account for its owner.
        Account(String owner) {
            this.owner = owner;
        }

        // Adds a positive amount to the balance.
        void deposit(int amount) {
            if (amount <= 0) {
                throw new IllegalArgumentException("invalid amount");
            }
            balance += amount;
        }

        // Takes a positive amount that the balance covers.
        void withdraw(int amount) {
            if (amount <= 0) {
                throw new IllegalArgumentException("invalid amount");
            }
            if (amount > balance) {
                throw new IllegalArgumentException("insufficient funds");
            }
            balance -= amount;
        }
    }

    // Carries out one action and prints the new balance or the error.
    static void run(Account account, String action, int amount) {
        try {
            if (action.equals("deposit")) {
                account.deposit(amount);
            } else {
                account.withdraw(amount);
            }
            System.out.println(action + " " + amount + ": balance " + account.balance);
        } catch (IllegalArgumentException error) {
            System.out.println(action + " " + amount + ": " + error.getMessage());
        }
    }

    // Runs five actions on one account.
    public static void main(String[] args) {
        Account account = new Account("ada");
        run(account, "deposit", 100);
        run(account, "withdraw", 30);
        run(account, "withdraw", 100);
        run(account, "deposit", -5);
        run(account, "deposit", 50);
        System.out.println(account.owner + " has " + account.balance);
    }
}
