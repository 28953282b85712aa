(* Counts how often each letter occurs in a text. *)

(* Returns 26 counts, from a to z; capitals count as small letters. *)
let count_letters text =
  let counts = Array.make 26 0 in
  String.iter
    (fun sign ->
      match Char.lowercase_ascii sign with
      | 'a' .. 'z' as letter ->
          let index = Char.code letter - Char.code 'a' in
          counts.(index) <- counts.(index) + 1
      | _ -> ())
    text;
  counts

(* Prints the letters that occur at least twice. *)
let () =
  let counts = count_letters "The quick brown fox jumps over the lazy dog again" in
  Array.iteri
    (fun index count ->
      if count >= 2 then
        let letter = Char.chr (Char.code 'a' + index) in
        Printf.printf "%c=%d\n" letter count)
    counts
