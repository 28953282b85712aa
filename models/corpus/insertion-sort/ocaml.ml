(* Sorts lists of numbers by insertion. *)

(* Moves each value left past all larger ones, in place. *)
let insertion_sort values =
  for i = 1 to Array.length values - 1 do
    let value = values.(i) in
    let j = ref i in
    while !j > 0 && values.(!j - 1) > value do
      values.(!j) <- values.(!j - 1);
      decr j
    done;
    values.(!j) <- value
  done

(* Sorts three lists and prints them. *)
let () =
  List.iter
    (fun values ->
      insertion_sort values;
      let shown = List.map string_of_int (Array.to_list values) in
      print_endline (String.concat " " shown))
    [ [| 5; 2; 9; 1; 5; 6 |]; [| 3 |]; [| 10; -2; 7; 0; -5 |] ]
