# Checks whether the brackets in a text are balanced.

(def openers {(chr ")") (chr "(") (chr "]") (chr "[") (chr "}") (chr "{")})

# Keeps the open brackets on a stack; each closing one must match the last.
(defn is-balanced [text]
  (def stack @[])
  (var balanced true)
  (each sign text
    (cond
      (index-of sign "([{") (array/push stack sign)
      (in openers sign) (unless (= (array/pop stack) (in openers sign))
                          (set balanced false)
                          (break))))
  (and balanced (empty? stack)))

# Checks five texts.
(defn main [&]
  (each text ["([]{})" "([)]" "{a(b)c}" "((" ""]
    (def verdict (if (is-balanced text) "balanced" "not balanced"))
    (print `"` text `" ` verdict)))
