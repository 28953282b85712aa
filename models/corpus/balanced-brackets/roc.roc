# Checks whether the brackets in a text are balanced.

# Returns the bracket that a closing one belongs to.
opener : U8 -> U8
opener = |closer| {
	match closer {
		')' => '('
		']' => '['
		_ => '{'
	}
}

# Keeps the open brackets on a stack; each closing one must match the last.
is_balanced : Str -> Bool
is_balanced = |text| {
	var $stack = []
	for sign in text.to_utf8() {
		match sign {
			'(' | '[' | '{' => {
				$stack = $stack.append(sign)
			}
			')' | ']' | '}' => {
				if $stack.last() != Ok(opener(sign)) {
					return False
				}
				$stack = $stack.drop_last(1)
			}
			_ => {}
		}
	}
	$stack.is_empty()
}

# Checks five texts.
main! = |_args| {
	for text in ["([]{})", "([)]", "{a(b)c}", "((", ""] {
		verdict = if is_balanced(text) "balanced" else "not balanced"
		echo!("\"${text}\" ${verdict}\n")
	}
	Ok({})
}
