# Keeps a bank account that refuses wrong amounts.

# Opens an empty account for its owner.
(defn open-account [owner]
  @{:owner owner :balance 0})

# Adds a positive amount to the balance.
(defn deposit [account amount]
  (when (<= amount 0)
    (error "invalid amount"))
  (+= (account :balance) amount))

# Takes a positive amount that the balance covers.
(defn withdraw [account amount]
  (when (<= amount 0)
    (error "invalid amount"))
  (when (> amount (account :balance))
    (error "insufficient funds"))
  (-= (account :balance) amount))

# Carries out one action and prints the new balance or the error.
(defn run [account action amount]
  (try
    (do
      (if (= action "deposit")
        (deposit account amount)
        (withdraw account amount))
      (print action " " amount ": balance " (account :balance)))
    ([err]
      (print action " " amount ": " err))))

# Runs five actions on one account.
(defn main [&]
  (def account (open-account "ada"))
  (run account "deposit" 100)
  (run account "withdraw" 30)
  (run account "withdraw" 100)
  (run account "deposit" -5)
  (run account "deposit" 50)
  (print (account :owner) " has " (account :balance)))
