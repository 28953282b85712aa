(* Keeps a bank account that refuses wrong amounts. *)

type account = { owner : string; mutable balance : int }

(* Adds a positive amount to the balance. *)
let deposit account amount =
  if amount <= 0 then Error "invalid amount"
  else begin
    account.balance <- account.balance + amount;
    Ok ()
  end

(* Takes a positive amount that the balance covers. *)
let withdraw account amount =
  if amount <= 0 then Error "invalid amount"
  else if amount > account.balance then Error "insufficient funds"
  else begin
    account.balance <- account.balance - amount;
    Ok ()
  end

(* Carries out one action and prints the new balance or the error. *)
let run account action amount =
  let result =
    if action = "deposit" then deposit account amount
    else withdraw account amount
  in
  match result with
  | Ok () -> Printf.printf "%s %d: balance %d\n" action amount account.balance
  | Error message -> Printf.printf "%s %d: %s\n" action amount message

(* Runs five actions on one account. *)
let () =
  let account = { owner = "ada"; balance = 0 } in
  run account "deposit" 100;
  run account "withdraw" 30;
  run account "withdraw" 100;
  run account "deposit" (-5);
  run account "deposit" 50;
  Printf.printf "%s has %d\n" account.owner account.balance
