# Counts how often each letter occurs in a text.

# Returns 26 counts, from a to z; capitals count as small letters.
function count_letters(text)
    counts = zeros(Int, 26)
    for sign in lowercase(text)
        if 'a' <= sign <= 'z'
            counts[sign - 'a' + 1] += 1
        end
    end
    return counts
end

# Prints the letters that occur at least twice.
function main()
    counts = count_letters("The quick brown fox jumps over the lazy dog again")
    for (letter, count) in zip('a':'z', counts)
        if count >= 2
            println("$letter=$count")
        end
    end
end

main()
