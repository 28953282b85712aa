# Multiplies two matrices.

# Returns the product of a and b, row by row.
function multiply(a, b)
    rows, inner, columns = size(a, 1), size(b, 1), size(b, 2)
    product = zeros(Int, rows, columns)
    for i in 1:rows
        for j in 1:columns
            for k in 1:inner
                product[i, j] += a[i, k] * b[k, j]
            end
        end
    end
    return product
end

# Prints one row a line, its numbers joined by spaces.
function print_matrix(matrix)
    for row in eachrow(matrix)
        println(join(row, " "))
    end
end

# Multiplies the matrices in both orders.
function main()
    a = [1 2 3; 4 5 6]
    b = [7 8; 9 10; 11 12]
    print_matrix(multiply(a, b))
    print_matrix(multiply(b, a))
end

main()
