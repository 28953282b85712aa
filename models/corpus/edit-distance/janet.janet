# Measures how many edits turn one word into another.

# Levenshtein distance, with the last and the current row of the table only.
(defn edit-distance [a b]
  (var last-row (range (inc (length b))))
  (for i 1 (inc (length a))
    (def row @[i])
    (for j 1 (inc (length b))
      (def cost (if (= (in a (dec i)) (in b (dec j))) 0 1))
      (array/push row
                  (min (inc (in last-row j))
                       (inc (in row (dec j)))
                       (+ (in last-row (dec j)) cost))))
    (set last-row row))
  (last last-row))

# Shows an empty word as a pair of quotes.
(defn show [word]
  (if (empty? word) `""` word))

# Compares four pairs of words.
(defn main [&]
  (each [a b] [["kitten" "sitting"] ["flaw" "lawn"] ["" "abc"] ["gumbo" "gambol"]]
    (print (show a) " " (show b) " " (edit-distance a b))))
