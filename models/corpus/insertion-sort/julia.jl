# Sorts lists of numbers by insertion.

# Moves each value left past all larger ones, in place.
function insertion_sort!(values)
    for i in 2:length(values)
        value = values[i]
        j = i
        while j > 1 && values[j - 1] > value
            values[j] = values[j - 1]
            j -= 1
        end
        values[j] = value
    end
end

# Sorts three lists and prints them.
function main()
    for values in [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]
        insertion_sort!(values)
        println(join(values, " "))
    end
end

main()
