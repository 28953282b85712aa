(* Multiplies two matrices. *)

(* Returns the product of a and b, row by row. *)
let multiply a b =
  let rows = Array.length a in
  let inner = Array.length b in
  let columns = Array.length b.(0) in
  let product = Array.make_matrix rows columns 0 in
  for i = 0 to rows - 1 do
    for j = 0 to columns - 1 do
      for k = 0 to inner - 1 do
        product.(i).(j) <- product.(i).(j) + (a.(i).(k) * b.(k).(j))
      done
    done
  done;
  product

(* Prints one row a line, its numbers joined by spaces. *)
let print_matrix matrix =
  Array.iter
    (fun row ->
      let numbers = List.map string_of_int (Array.to_list row) in
      print_endline (String.concat " " numbers))
    matrix

(* Multiplies the matrices in both orders. *)
let () =
  let a = [| [| 1; 2; 3 |]; [| 4; 5; 6 |] |] in
  let b = [| [| 7; 8 |]; [| 9; 10 |]; [| 11; 12 |] |] in
  print_matrix (multiply a b);
  print_matrix (multiply b a)
