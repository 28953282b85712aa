# Counts how often each letter occurs in a text.

# Returns 26 counts, from a to z; capitals count as small letters.
def count_letters(text : String) : Array(Int32)
  counts = Array.new(26, 0)
  text.downcase.each_char do |sign|
    counts[sign - 'a'] += 1 if 'a' <= sign <= 'z'
  end
  counts
end

# Prints the letters that occur at least twice.
counts = count_letters("The quick brown fox jumps over the lazy dog again")
counts.each_with_index do |count, index|
  puts "#{'a' + index}=#{count}" if count >= 2
end
