-- Keeps a bank account that refuses wrong amounts.

local Account = {}
Account.__index = Account

-- Opens an empty account for its owner.
function Account.new(owner)
  return setmetatable({owner = owner, balance = 0}, Account)
end

-- Adds a positive amount to the balance.
function Account:deposit(amount)
  if amount <= 0 then
    error("invalid amount", 0)
  end
  self.balance = self.balance + amount
end

-- Takes a positive amount that the balance covers.
function Account:withdraw(amount)
  if amount <= 0 then
    error("invalid amount", 0)
  end
  if amount > self.balance then
    error("insufficient funds", 0)
  end
  self.balance = self.balance - amount
end

-- Carries out one action and prints the new balance or the error.
local function run(account, action, amount)
  local ok, message = pcall(account[action], account, amount)
  if ok then
    print(action .. " " .. amount .. ": balance " .. account.balance)
  else
    print(action .. " " .. amount .. ": " .. message)
  end
end

-- Runs five actions on one account.
local function main()
  local account = Account.new("ada")
  run(account, "deposit", 100)
  run(account, "withdraw", 30)
  run(account, "withdraw", 100)
  run(account, "deposit", -5)
  run(account, "deposit", 50)
  print(account.owner .. " has " .. account.balance)
end

main()
