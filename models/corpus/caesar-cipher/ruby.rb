# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
def shift(letter, key)
  case letter
  when "a".."z" then first = "a".ord
  when "A".."Z" then first = "A".ord
  else return letter
  end
  ((letter.ord - first + key) % 26 + first).chr
end

# Shifts every letter of the text.
def caesar(text, key)
  text.each_char.map { |letter| shift(letter, key) }.join
end

# Encrypts two texts and decrypts them again.
def main
  [["Hello, World!", 3], ["Pack my box.", 13]].each do |text, key|
    secret = caesar(text, key)
    puts secret
    puts caesar(secret, 26 - key)
  end
end

main
