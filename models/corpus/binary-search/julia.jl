# Finds numbers in a sorted list by halving the range that may hold them.

# Returns the index of target in the sorted values, counted from 0, or -1.
function binary_search(values, target)
    low = 1
    high = length(values)
    while low <= high
        middle = div(low + high, 2)
        if values[middle] == target
            return middle - 1
        end
        if values[middle] < target
            low = middle + 1
        else
            high = middle - 1
        end
    end
    return -1
end

# Searches for five numbers, some of them absent.
function main()
    values = [1, 3, 4, 6, 8, 9, 11, 15, 22]
    for target in [6, 1, 22, 13, 0]
        index = binary_search(values, target)
        if index >= 0
            println("$target at $index")
        else
            println("$target not found")
        end
    end
end

main()
