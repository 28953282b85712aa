(* Writes numbers as Roman numerals. *)

let numerals =
  [
    (1000, "M");
    (900, "CM");
    (500, "D");
    (400, "CD");
    (100, "C");
    (90, "XC");
    (50, "L");
    (40, "XL");
    (10, "X");
    (9, "IX");
    (5, "V");
    (4, "IV");
    (1, "I");
  ]

(* Takes the largest numeral that fits until nothing is left. *)
let to_roman number =
  let rec take table number =
    match table with
    | [] -> ""
    | (value, numeral) :: _ when number >= value -> numeral ^ take table (number - value)
    | _ :: rest -> take rest number
  in
  take numerals number

(* Prints six numbers and their numerals. *)
let () =
  List.iter
    (fun number -> Printf.printf "%d = %s\n" number (to_roman number))
    [ 4; 9; 14; 90; 1994; 2024 ]
