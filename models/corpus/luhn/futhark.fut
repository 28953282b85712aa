-- Checks numbers by the Luhn formula.

-- Adds the digits from the right, every second one doubled (less 9 above 9).
def luhn_sum [n] (digits: [n]i64) : i64 =
  let double (position: i64) (digit: i64) =
    if position % 2 == 0
    then digit
    else if digit * 2 > 9
    then digit * 2 - 9
    else digit * 2
  in i64.sum (map2 double (iota n) (reverse digits))

-- Says whether a number, spaces allowed, passes the check.
def is_valid [n] (number: [n]u8) : bool =
  let signs = filter (!= ' ') number
  let digits = map (\sign -> i64.u8 sign - i64.u8 '0') signs
  in all (\digit -> 0 <= digit && digit <= 9) digits
     && length digits >= 2
     && luhn_sum digits % 10 == 0

-- Checks five numbers.
entry long_right = is_valid "4539 3195 0343 6467"
entry long_wrong = is_valid "8273 1232 7352 0569"
entry too_short = is_valid "0"
entry short_right = is_valid "059"
entry with_letter = is_valid "05a9"
