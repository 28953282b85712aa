# Writes runs of equal letters as a count and the letter, and reads them back.

# Turns each run of equal letters into its length and the letter.
function encode(text)
    code = ""
    start = 1
    while start <= length(text)
        finish = start
        while finish <= length(text) && text[finish] == text[start]
            finish += 1
        end
        code *= string(finish - start, text[start])
        start = finish
    end
    return code
end

# Repeats each letter as often as the count before it says.
function decode(code)
    text = ""
    count = 0
    for sign in code
        if isdigit(sign)
            count = count * 10 + (sign - '0')
        else
            text *= repeat(string(sign), count)
            count = 0
        end
    end
    return text
end

# Encodes and decodes three texts.
function main()
    for text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"]
        code = encode(text)
        println("$text -> $code -> $(decode(code))")
    end
end

main()
