# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
function shift(letter, key)
    if 'a' <= letter <= 'z'
        first = 'a'
    elseif 'A' <= letter <= 'Z'
        first = 'A'
    else
        return letter
    end
    return first + (letter - first + key) % 26
end

# Shifts every letter of the text.
function caesar(text, key)
    return map(letter -> shift(letter, key), text)
end

# Encrypts two texts and decrypts them again.
function main()
    for (text, key) in [("Hello, World!", 3), ("Pack my box.", 13)]
        secret = caesar(text, key)
        println(secret)
        println(caesar(secret, 26 - key))
    end
end

main()
