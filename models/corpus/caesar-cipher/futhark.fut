-- Encrypts and decrypts texts with the Caesar cipher.

-- Moves a letter key places on in the alphabet; other signs stay.
def shift (letter: u8) (key: u8) : u8 =
  let rotate (first: u8) = (letter - first + key) % 26 + first
  in if letter >= 'a' && letter <= 'z'
     then rotate 'a'
     else if letter >= 'A' && letter <= 'Z'
     then rotate 'A'
     else letter

-- Shifts every letter of the text.
def caesar [n] (text: [n]u8) (key: u8) : [n]u8 =
  map (\letter -> shift letter key) text

-- Encrypts two texts and decrypts them again.
entry encrypt_hello = caesar "Hello, World!" 3
entry decrypt_hello = caesar (caesar "Hello, World!" 3) (26 - 3)
entry encrypt_pack = caesar "Pack my box." 13
entry decrypt_pack = caesar (caesar "Pack my box." 13) (26 - 13)
