(* Checks numbers by the Luhn formula. *)

(* Adds the digits from the right, every second one doubled (less 9 above 9). *)
let luhn_sum digits =
  let weigh position digit =
    if position mod 2 = 0 then digit
    else if digit * 2 > 9 then (digit * 2) - 9
    else digit * 2
  in
  List.fold_left ( + ) 0 (List.mapi weigh (List.rev digits))

(* Says whether a number, spaces allowed, passes the check. *)
let is_valid number =
  let signs = List.filter (fun sign -> sign <> ' ') (List.of_seq (String.to_seq number)) in
  let is_digit sign = sign >= '0' && sign <= '9' in
  let to_digit sign = Char.code sign - Char.code '0' in
  List.for_all is_digit signs
  && List.length signs >= 2
  && luhn_sum (List.map to_digit signs) mod 10 = 0

(* Checks five numbers. *)
let () =
  List.iter
    (fun number ->
      let verdict = if is_valid number then "valid" else "invalid" in
      Printf.printf "%s %s\n" number verdict)
    [ "4539 3195 0343 6467"; "8273 1232 7352 0569"; "0"; "059"; "05a9" ]
