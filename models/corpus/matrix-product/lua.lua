-- Multiplies two matrices.

-- Returns the product of a and b, row by row.
local function multiply(a, b)
  local rows, inner, columns = #a, #b, #b[1]
  local product = {}
  for i = 1, rows do
    product[i] = {}
    for j = 1, columns do
      product[i][j] = 0
      for k = 1, inner do
        product[i][j] = product[i][j] + a[i][k] * b[k][j]
      end
    end
  end
  return product
end

-- Prints one row a line, its numbers joined by spaces.
local function print_matrix(matrix)
  for _, row in ipairs(matrix) do
    print(table.concat(row, " "))
  end
end

-- Multiplies the matrices in both orders.
local function main()
  local a = {{1, 2, 3}, {4, 5, 6}}
  local b = {{7, 8}, {9, 10}, {11, 12}}
  print_matrix(multiply(a, b))
  print_matrix(multiply(b, a))
end

main()
