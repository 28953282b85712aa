(* Finds numbers in a sorted list by halving the range that may hold them. *)

(* Returns the index of target in the sorted values, or None. *)
let binary_search values target =
  let rec search low high =
    if low > high then None
    else
      let middle = (low + high) / 2 in
      if values.(middle) = target then Some middle
      else if values.(middle) < target then search (middle + 1) high
      else search low (middle - 1)
  in
  search 0 (Array.length values - 1)

(* Searches for five numbers, some of them absent. *)
let () =
  let values = [| 1; 3; 4; 6; 8; 9; 11; 15; 22 |] in
  List.iter
    (fun target ->
      match binary_search values target with
      | Some index -> Printf.printf "%d at %d\n" target index
      | None -> Printf.printf "%d not found\n" target)
    [ 6; 1; 22; 13; 0 ]
