# Multiplies two matrices.

alias Matrix = Array(Array(Int32))

# Returns the product of a and b, row by row.
def multiply(a : Matrix, b : Matrix) : Matrix
  rows, inner, columns = a.size, b.size, b[0].size
  product = Array.new(rows) { Array.new(columns, 0) }
  rows.times do |i|
    columns.times do |j|
      inner.times do |k|
        product[i][j] += a[i][k] * b[k][j]
      end
    end
  end
  product
end

# Prints one row a line, its numbers joined by spaces.
def print_matrix(matrix : Matrix) : Nil
  matrix.each { |row| puts row.join(" ") }
end

# Multiplies the matrices in both orders.
a = [[1, 2, 3], [4, 5, 6]]
b = [[7, 8], [9, 10], [11, 12]]
print_matrix(multiply(a, b))
print_matrix(multiply(b, a))
