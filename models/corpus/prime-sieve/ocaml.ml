(* Lists prime numbers with the sieve of Eratosthenes. *)

(* Returns all primes from 2 up to and including limit. *)
let primes_up_to limit =
  let is_prime = Array.make (limit + 1) true in
  let primes = ref [] in
  for number = 2 to limit do
    if is_prime.(number) then begin
      primes := number :: !primes;
      let multiple = ref (number * number) in
      while !multiple <= limit do
        is_prime.(!multiple) <- false;
        multiple := !multiple + number
      done
    end
  done;
  List.rev !primes

(* Prints the primes up to three limits. *)
let () =
  List.iter
    (fun limit ->
      print_endline (String.concat " " (List.map string_of_int (primes_up_to limit))))
    [ 10; 30; 60 ]
