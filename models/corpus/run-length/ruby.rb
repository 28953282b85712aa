# Writes runs of equal letters as a count and the letter, and reads them back.

# Turns each run of equal letters into its length and the letter.
def encode(text)
  code = +""
  start = 0
  while start < text.length
    finish = start
    finish += 1 while finish < text.length && text[finish] == text[start]
    code << "#{finish - start}#{text[start]}"
    start = finish
  end
  code
end

# Repeats each letter as often as the count before it says.
def decode(code)
  text = +""
  count = 0
  code.each_char do |sign|
    if sign.match?(/\d/)
      count = count * 10 + sign.to_i
    else
      text << sign * count
      count = 0
    end
  end
  text
end

# Encodes and decodes three texts.
def main
  ["aaaabbc", "wwwwwwwwwwwwb", "abc"].each do |text|
    code = encode(text)
    puts "#{text} -> #{code} -> #{decode(code)}"
  end
end

main
