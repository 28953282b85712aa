# Keeps a bank account that refuses wrong amounts.

Account : { owner : Str, balance : I64 }

AccountError : [InvalidAmount, InsufficientFunds]

# Opens an empty account for its owner.
open_account : Str -> Account
open_account = |owner| { owner, balance: 0 }

# Adds a positive amount to the balance.
deposit : Account, I64 -> Try(Account, AccountError)
deposit = |account, amount| {
	if amount <= 0 {
		Err(InvalidAmount)
	} else {
		Ok({ ..account, balance: account.balance + amount })
	}
}

# Takes a positive amount that the balance covers.
withdraw : Account, I64 -> Try(Account, AccountError)
withdraw = |account, amount| {
	if amount <= 0 {
		Err(InvalidAmount)
	} else if amount > account.balance {
		Err(InsufficientFunds)
	} else {
		Ok({ ..account, balance: account.balance - amount })
	}
}

# Carries out one action and prints the new balance or the error.
run! : Account, Str, I64 => Account
run! = |account, action, amount| {
	result = if action == "deposit" deposit(account, amount) else withdraw(account, amount)
	message = match result {
		Ok(changed) => "balance ${changed.balance.to_str()}"
		Err(InvalidAmount) => "invalid amount"
		Err(InsufficientFunds) => "insufficient funds"
	}
	echo!("${action} ${amount.to_str()}: ${message}\n")
	result ?? account
}

# Runs five actions on one account.
main! = |_args| {
	var $account = open_account("ada")
	$account = run!($account, "deposit", 100)
	$account = run!($account, "withdraw", 30)
	$account = run!($account, "withdraw", 100)
	$account = run!($account, "deposit", -5)
	$account = run!($account, "deposit", 50)
	echo!("${$account.owner} has ${$account.balance.to_str()}\n")
	Ok({})
}
