# Writes numbers as Roman numerals.

(def numerals
  [[1000 "M"]
   [900 "CM"]
   [500 "D"]
   [400 "CD"]
   [100 "C"]
   [90 "XC"]
   [50 "L"]
   [40 "XL"]
   [10 "X"]
   [9 "IX"]
   [5 "V"]
   [4 "IV"]
   [1 "I"]])

# Takes the largest numeral that fits until nothing is left.
(defn to-roman [number]
  (def roman @"")
  (var rest number)
  (each [value numeral] numerals
    (while (>= rest value)
      (buffer/push roman numeral)
      (-= rest value)))
  (string roman))

# Prints six numbers and their numerals.
(defn main [&]
  (each number [4 9 14 90 1994 2024]
    (print number " = " (to-roman number))))
