(* Encrypts and decrypts texts with the Caesar cipher. *)

(* Moves a letter key places on in the alphabet; other signs stay. *)
let shift letter key =
  let rotate first =
    let first = Char.code first in
    Char.chr (((Char.code letter - first + key) mod 26) + first)
  in
  match letter with
  | 'a' .. 'z' -> rotate 'a'
  | 'A' .. 'Z' -> rotate 'A'
  | _ -> letter

(* Shifts every letter of the text. *)
let caesar text key = String.map (fun letter -> shift letter key) text

(* Encrypts two texts and decrypts them again. *)
let () =
  List.iter
    (fun (text, key) ->
      let secret = caesar text key in
      print_endline secret;
      print_endline (caesar secret (26 - key)))
    [ ("Hello, World!", 3); ("Pack my box.", 13) ]
