-- Multiplies two matrices.

-- Returns the product of a and b, row by row.
def multiply [rows] [inner] [columns] (a: [rows][inner]i64) (b: [inner][columns]i64) : [rows][columns]i64 =
  map (\row -> map (\column -> i64.sum (map2 (*) row column)) (transpose b)) a

def a : [2][3]i64 = [[1, 2, 3], [4, 5, 6]]

def b : [3][2]i64 = [[7, 8], [9, 10], [11, 12]]

-- Multiplies the matrices in both orders.
entry a_times_b = multiply a b
entry b_times_a = multiply b a
