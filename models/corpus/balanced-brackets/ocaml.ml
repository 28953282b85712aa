(* Checks whether the brackets in a text are balanced. *)

(* Returns the opening bracket that belongs to a closing one. *)
let opener = function
  | ')' -> '('
  | ']' -> '['
  | _ -> '{'

(* Keeps the open brackets on a stack; each closing one must match the last. *)
let is_balanced text =
  let rec check stack signs =
    match (signs, stack) with
    | [], _ -> stack = []
    | (('(' | '[' | '{') as sign) :: rest, _ -> check (sign :: stack) rest
    | ((')' | ']' | '}') as sign) :: rest, top :: below -> top = opener sign && check below rest
    | (')' | ']' | '}') :: _, [] -> false
    | _ :: rest, _ -> check stack rest
  in
  check [] (List.of_seq (String.to_seq text))

(* Checks five texts. *)
let () =
  List.iter
    (fun text ->
      let verdict = if is_balanced text then "balanced" else "not balanced" in
      Printf.printf "\"%s\" %s\n" text verdict)
    [ "([]{})"; "([)]"; "{a(b)c}"; "(("; "" ]
