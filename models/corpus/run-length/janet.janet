# Writes runs of equal letters as a count and the letter, and reads them back.

# Turns each run of equal letters into its length and the letter.
(defn encode [text]
  (def code @"")
  (var start 0)
  (while (< start (length text))
    (var end start)
    (while (and (< end (length text)) (= (in text end) (in text start)))
      (++ end))
    (buffer/push code (string (- end start)) (in text start))
    (set start end))
  (string code))

# Repeats each letter as often as the count before it says.
(defn decode [code]
  (def text @"")
  (var count 0)
  (each sign code
    (if (<= (chr "0") sign (chr "9"))
      (set count (+ (* count 10) (- sign (chr "0"))))
      (do
        (buffer/push text (string/repeat (string/from-bytes sign) count))
        (set count 0))))
  (string text))

# Encodes and decodes three texts.
(defn main [&]
  (each text ["aaaabbc" "wwwwwwwwwwwwb" "abc"]
    (def code (encode text))
    (print text " -> " code " -> " (decode code))))
