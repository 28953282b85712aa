# Keeps a bank account that refuses wrong amounts.

class Account
  attr_reader :owner, :balance

  # Opens an empty account for its owner.
  def initialize(owner)
    @owner = owner
    @balance = 0
  end

  # Adds a positive amount to the balance.
  def deposit(amount)
    raise ArgumentError, "invalid amount" if amount <= 0

    @balance += amount
  end

  # Takes a positive amount that the balance covers.
  def withdraw(amount)
    raise ArgumentError, "invalid amount" if amount <= 0
    raise ArgumentError, "insufficient funds" if amount > @balance

    @balance -= amount
  end
end

# Carries out one action and prints the new balance or the error.
def run(account, action, amount)
  if action == "deposit"
    account.deposit(amount)
  else
    account.withdraw(amount)
  end
  puts "#{action} #{amount}: balance #{account.balance}"
rescue ArgumentError => e
  puts "#{action} #{amount}: #{e.message}"
end

# Runs five actions on one account.
def main
  account = Account.new("ada")
  run(account, "deposit", 100)
  run(account, "withdraw", 30)
  run(account, "withdraw", 100)
  run(account, "deposit", -5)
  run(account, "deposit", 50)
  puts "#{account.owner} has #{account.balance}"
end

main
