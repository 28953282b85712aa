# Sorts lists of numbers by insertion.

# Moves each value left past all larger ones, in place.
(defn insertion-sort [values]
  (for i 1 (length values)
    (def value (in values i))
    (var j i)
    (while (and (> j 0) (> (in values (dec j)) value))
      (put values j (in values (dec j)))
      (-- j))
    (put values j value)))

# Sorts three lists and prints them.
(defn main [&]
  (each values [@[5 2 9 1 5 6] @[3] @[10 -2 7 0 -5]]
    (insertion-sort values)
    (print (string/join (map string values) " "))))
