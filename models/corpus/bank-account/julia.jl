# Keeps a bank account that refuses wrong amounts.

mutable struct Account
    owner::String
    balance::Int
end

# Adds a positive amount to the balance.
function deposit!(account, amount)
    if amount <= 0
        throw(ArgumentError("invalid amount"))
    end
    account.balance += amount
end

# Takes a positive amount that the balance covers.
function withdraw!(account, amount)
    if amount <= 0
        throw(ArgumentError("invalid amount"))
    end
    if amount > account.balance
        throw(ArgumentError("insufficient funds"))
    end
    account.balance -= amount
end

# Carries out one action and prints the new balance or the error.
function run!(account, action, amount)
    try
        if action == "deposit"
            deposit!(account, amount)
        else
            withdraw!(account, amount)
        end
        println("$action $amount: balance $(account.balance)")
    catch err
        err isa ArgumentError || rethrow()
        println("$action $amount: $(err.msg)")
    end
end

# Runs five actions on one account.
function main()
    account = Account("ada", 0)
    run!(account, "deposit", 100)
    run!(account, "withdraw", 30)
    run!(account, "withdraw", 100)
    run!(account, "deposit", -5)
    run!(account, "deposit", 50)
    println("$(account.owner) has $(account.balance)")
end

main()
