# Keeps a bank account that refuses wrong amounts.

class Account
  getter owner : String
  getter balance = 0

  # Opens an empty account for its owner.
  def initialize(@owner : String)
  end

  # Adds a positive amount to the balance.
  def deposit(amount : Int32) : Nil
    raise ArgumentError.new("invalid amount") if amount <= 0
    @balance += amount
  end

  # Takes a positive amount that the balance covers.
  def withdraw(amount : Int32) : Nil
    raise ArgumentError.new("invalid amount") if amount <= 0
    raise ArgumentError.new("insufficient funds") if amount > @balance
    @balance -= amount
  end
end

# Carries out one action and prints the new balance or the error.
def run(account : Account, action : String, amount : Int32) : Nil
  if action == "deposit"
    account.deposit(amount)
  else
    account.withdraw(amount)
  end
  puts "#{action} #{amount}: balance #{account.balance}"
rescue error : ArgumentError
  puts "#{action} #{amount}: #{error.message}"
end

# Runs five actions on one account.
account = Account.new("ada")
run(account, "deposit", 100)
run(account, "withdraw", 30)
run(account, "withdraw", 100)
run(account, "deposit", -5)
run(account, "deposit", 50)
puts "#{account.owner} has #{account.balance}"
