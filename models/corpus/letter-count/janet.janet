# Counts how often each letter occurs in a text.

# Returns 26 counts, from a to z; capitals count as small letters.
(defn count-letters [text]
  (def counts (array/new-filled 26 0))
  (each sign (string/ascii-lower text)
    (when (<= (chr "a") sign (chr "z"))
      (++ (counts (- sign (chr "a"))))))
  counts)

# Prints the letters that occur at least twice.
(defn main [&]
  (def counts (count-letters "The quick brown fox jumps over the lazy dog again"))
  (eachp [index count] counts
    (when (>= count 2)
      (def letter (string/from-bytes (+ (chr "a") index)))
      (print letter "=" count))))
