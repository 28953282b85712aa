# Measures how many edits turn one word into another.

# Levenshtein distance, with the last and the current row of the table only.
function edit_distance(a, b)
    last = collect(0:length(b))
    for i in 1:length(a)
        row = [i]
        for j in 1:length(b)
            cost = a[i] == b[j] ? 0 : 1
            push!(row, min(last[j + 1] + 1, row[j] + 1, last[j] + cost))
        end
        last = row
    end
    return last[end]
end

# Shows an empty word as a pair of quotes.
function show_word(word)
    return isempty(word) ? "\"\"" : word
end

# Compares four pairs of words.
function main()
    for (a, b) in [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]
        println("$(show_word(a)) $(show_word(b)) $(edit_distance(a, b))")
    end
end

main()
