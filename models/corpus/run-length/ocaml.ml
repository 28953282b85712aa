(* Writes runs of equal letters as a count and the letter, and reads them back. *)

(* Turns each run of equal letters into its length and the letter. *)
let encode text =
  let code = Buffer.create 16 in
  let length = String.length text in
  let start = ref 0 in
  while !start < length do
    let finish = ref !start in
    while !finish < length && text.[!finish] = text.[!start] do
      incr finish
    done;
    Buffer.add_string code (string_of_int (!finish - !start));
    Buffer.add_char code text.[!start];
    start := !finish
  done;
  Buffer.contents code

(* Repeats each letter as often as the count before it says. *)
let decode code =
  let text = Buffer.create 16 in
  let count = ref 0 in
  String.iter
    (fun sign ->
      match sign with
      | '0' .. '9' -> count := (!count * 10) + Char.code sign - Char.code '0'
      | _ ->
          Buffer.add_string text (String.make !count sign);
          count := 0)
    code;
  Buffer.contents text

(* Encodes and decodes three texts. *)
let () =
  List.iter
    (fun text ->
      let code = encode text in
      Printf.printf "%s -> %s -> %s\n" text code (decode code))
    [ "aaaabbc"; "wwwwwwwwwwwwb"; "abc" ]
