(* Measures how many edits turn one word into another. *)

(* Levenshtein distance, with the last and the current row of the table only. *)
let edit_distance a b =
  let columns = String.length b in
  let last = ref (Array.init (columns + 1) Fun.id) in
  for i = 1 to String.length a do
    let row = Array.make (columns + 1) i in
    for j = 1 to columns do
      let cost = if a.[i - 1] = b.[j - 1] then 0 else 1 in
      row.(j) <- min (min (!last.(j) + 1) (row.(j - 1) + 1)) (!last.(j - 1) + cost)
    done;
    last := row
  done;
  !last.(columns)

(* Shows an empty word as a pair of quotes. *)
let show word = if word = "" then "\"\"" else word

(* Compares four pairs of words. *)
let () =
  List.iter
    (fun (a, b) -> Printf.printf "%s %s %d\n" (show a) (show b) (edit_distance a b))
    [ ("kitten", "sitting"); ("flaw", "lawn"); ("", "abc"); ("gumbo", "gambol") ]
