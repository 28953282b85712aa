# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
(defn shift [letter key]
  (def first-letter
    (cond
      (<= (chr "a") letter (chr "z")) (chr "a")
      (<= (chr "A") letter (chr "Z")) (chr "A")))
  (if first-letter
    (+ (mod (+ (- letter first-letter) key) 26) first-letter)
    letter))

# Shifts every letter of the text.
(defn caesar [text key]
  (string/from-bytes ;(map |(shift $ key) text)))

# Encrypts two texts and decrypts them again.
(defn main [&]
  (each [text key] [["Hello, World!" 3] ["Pack my box." 13]]
    (def secret (caesar text key))
    (print secret)
    (print (caesar secret (- 26 key)))))
