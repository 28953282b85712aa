# Checks numbers by the Luhn formula.

# Adds the digits from the right, every second one doubled (less 9 above 9).
(defn luhn-sum [digits]
  (var total 0)
  (eachp [position digit] (reverse digits)
    (def doubled (if (odd? position) (* digit 2) digit))
    (+= total (if (> doubled 9) (- doubled 9) doubled)))
  total)

# Says whether a number, spaces allowed, passes the check.
(defn is-valid [number]
  (def digits @[])
  (var valid true)
  (each sign number
    (cond
      (= sign (chr " ")) nil
      (<= (chr "0") sign (chr "9")) (array/push digits (- sign (chr "0")))
      (set valid false)))
  (and valid (>= (length digits) 2) (zero? (mod (luhn-sum digits) 10))))

# Checks five numbers.
(defn main [&]
  (each number ["4539 3195 0343 6467" "8273 1232 7352 0569" "0" "059" "05a9"]
    (def verdict (if (is-valid number) "valid" "invalid"))
    (print number " " verdict)))
