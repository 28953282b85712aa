# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
def shift(letter : Char, key : Int32) : Char
  first = case letter
          when 'a'..'z' then 'a'
          when 'A'..'Z' then 'A'
          else               return letter
          end
  first + (letter - first + key) % 26
end

# Shifts every letter of the text.
def caesar(text : String, key : Int32) : String
  text.gsub { |letter| shift(letter, key) }
end

# Encrypts two texts and decrypts them again.
[{"Hello, World!", 3}, {"Pack my box.", 13}].each do |text, key|
  secret = caesar(text, key)
  puts secret
  puts caesar(secret, 26 - key)
end
