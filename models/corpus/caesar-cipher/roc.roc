# Encrypts and decrypts texts with the Caesar cipher.

# Moves a letter key places on in the alphabet; other signs stay.
shift : U8, U8 -> U8
shift = |letter, key| {
	first =
		if 'a' <= letter and letter <= 'z' {
			'a'
		} else if 'A' <= letter and letter <= 'Z' {
			'A'
		} else {
			return letter
		}
	(letter - first + key) % 26 + first
}

# Shifts every letter of the text.
caesar : Str, U8 -> Str
caesar = |text, key|
	text
		.to_utf8()
		.map(|letter| shift(letter, key))
		|> Str.from_utf8_lossy

# Encrypts two texts and decrypts them again.
main! = |_args| {
	for (text, key) in [("Hello, World!", 3), ("Pack my box.", 13)] {
		secret = caesar(text, key)
		echo!("${secret}\n")
		echo!("${caesar(secret, 26 - key)}\n")
	}
	Ok({})
}
