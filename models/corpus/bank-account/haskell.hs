-- Keeps a bank account that refuses wrong amounts.
module Main where

import Control.Monad (foldM)

data Account = Account {owner :: String, balance :: Int}

data Action = Deposit | Withdraw

-- Adds a positive amount to the balance.
deposit :: Int -> Account -> Either String Account
deposit amount account
  | amount <= 0 = Left "invalid amount"
  | otherwise = Right account {balance = balance account + amount}

-- Takes a positive amount that the balance covers.
withdraw :: Int -> Account -> Either String Account
withdraw amount account
  | amount <= 0 = Left "invalid amount"
  | amount > balance account = Left "insufficient funds"
  | otherwise = Right account {balance = balance account - amount}

-- Carries out one action and prints the new balance or the error.
run :: Account -> (Action, Int) -> IO Account
run account (action, amount) = case result of
  Right changed -> do
    putStrLn (label ++ ": balance " ++ show (balance changed))
    return changed
  Left problem -> do
    putStrLn (label ++ ": " ++ problem)
    return account
  where
    (name, result) = case action of
      Deposit -> ("deposit", deposit amount account)
      Withdraw -> ("withdraw", withdraw amount account)
    label = name ++ " " ++ show amount

-- Runs five actions on one account.
main :: IO ()
main = do
  let actions = [(Deposit, 100), (Withdraw, 30), (Withdraw, 100), (Deposit, -5), (Deposit, 50)]
  account <- foldM run (Account "ada" 0) actions
  putStrLn (owner account ++ " has " ++ show (balance account))
