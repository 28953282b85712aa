# Counts how often each letter occurs in a text.

# Returns 26 counts, from a to z; capitals count as small letters.
def count_letters(text)
  counts = Array.new(26, 0)
  text.downcase.each_char do |sign|
    counts[sign.ord - "a".ord] += 1 if sign.between?("a", "z")
  end
  counts
end

# Prints the letters that occur at least twice.
def main
  counts = count_letters("The quick brown fox jumps over the lazy dog again")
  counts.each_with_index do |count, index|
    if count >= 2
      letter = ("a".ord + index).chr
      puts "#{letter}=#{count}"
    end
  end
end

main
