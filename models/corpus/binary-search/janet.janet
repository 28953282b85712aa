# Finds numbers in a sorted list by halving the range that may hold them.

# Returns the index of target in the sorted values, or -1.
(defn binary-search [values target]
  (var low 0)
  (var high (dec (length values)))
  (var found -1)
  (while (and (neg? found) (<= low high))
    (def middle (div (+ low high) 2))
    (def value (in values middle))
    (cond
      (= value target) (set found middle)
      (< value target) (set low (inc middle))
      (set high (dec middle))))
  found)

# Searches for five numbers, some of them absent.
(defn main [&]
  (def values [1 3 4 6 8 9 11 15 22])
  (each target [6 1 22 13 0]
    (def index (binary-search values target))
    (if (>= index 0)
      (print target " at " index)
      (print target " not found"))))
