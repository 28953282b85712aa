# Writes runs of equal letters as a count and the letter, and reads them back.

# Turns each run of equal letters into its length and the letter.
def encode(text : String) : String
  code = ""
  start = 0
  while start < text.size
    finish = start
    while finish < text.size && text[finish] == text[start]
      finish += 1
    end
    code += "#{finish - start}#{text[start]}"
    start = finish
  end
  code
end

# Repeats each letter as often as the count before it says.
def decode(code : String) : String
  text = ""
  count = 0
  code.each_char do |sign|
    if sign.ascii_number?
      count = count * 10 + sign.to_i
    else
      text += sign.to_s * count
      count = 0
    end
  end
  text
end

# Encodes and decodes three texts.
["aaaabbc", "wwwwwwwwwwwwb", "abc"].each do |text|
  code = encode(text)
  puts "#{text} -> #{code} -> #{decode(code)}"
end
