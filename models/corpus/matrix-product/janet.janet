# Multiplies two matrices.

# Returns the product of a and b, row by row.
(defn multiply [a b]
  (def columns (length (first b)))
  (def product @[])
  (for i 0 (length a)
    (def row (array/new-filled columns 0))
    (for j 0 columns
      (for k 0 (length b)
        (+= (row j) (* (get-in a [i k]) (get-in b [k j])))))
    (array/push product row))
  product)

# Prints one row a line, its numbers joined by spaces.
(defn print-matrix [matrix]
  (each row matrix
    (print (string/join (map string row) " "))))

# Multiplies the matrices in both orders.
(defn main [&]
  (def a [[1 2 3] [4 5 6]])
  (def b [[7 8] [9 10] [11 12]])
  (print-matrix (multiply a b))
  (print-matrix (multiply b a)))
