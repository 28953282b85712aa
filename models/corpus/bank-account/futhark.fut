-- Keeps a bank account that refuses wrong amounts.

type account [n] = {owner: [n]u8, balance: i64}

type action = #deposit i64 | #withdraw i64

type outcome = #done | #invalid_amount | #insufficient_funds

-- Opens an empty account for its owner.
def open_account [n] (owner: [n]u8) : account [n] =
  {owner, balance = 0}

-- Adds a positive amount to the balance.
def deposit [n] (account: account [n]) (amount: i64) : (account [n], outcome) =
  if amount <= 0
  then (account, #invalid_amount)
  else (account with balance = account.balance + amount, #done)

-- Takes a positive amount that the balance covers.
def withdraw [n] (account: account [n]) (amount: i64) : (account [n], outcome) =
  if amount <= 0
  then (account, #invalid_amount)
  else if amount > account.balance
  then (account, #insufficient_funds)
  else (account with balance = account.balance - amount, #done)

-- Carries out one action.
def run [n] (account: account [n]) (action: action) : (account [n], outcome) =
  match action
  case #deposit amount -> deposit account amount
  case #withdraw amount -> withdraw account amount

-- Says "balance" or the error, beside the new balance.
def describe [n] (account: account [n], outcome: outcome) : ([]u8, i64) =
  match outcome
  case #done -> ("balance", account.balance)
  case #invalid_amount -> ("invalid amount", account.balance)
  case #insufficient_funds -> ("insufficient funds", account.balance)

def actions : [5]action =
  [#deposit 100, #withdraw 30, #withdraw 100, #deposit (-5), #deposit 50]

-- Runs the first few actions on one account.
def run_first (count: i64) : (account [3], outcome) =
  loop (account, _outcome) = (open_account "ada", (#done : outcome)) for i < count do
    run account actions[i]

-- Runs five actions on one account.
entry deposit_100 = describe (run_first 1)
entry withdraw_30 = describe (run_first 2)
entry withdraw_100 = describe (run_first 3)
entry deposit_minus_5 = describe (run_first 4)
entry deposit_50 = describe (run_first 5)
entry final_balance = let (account, _) = run_first 5 in (account.owner, account.balance)
