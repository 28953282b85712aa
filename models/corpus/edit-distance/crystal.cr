# Measures how many edits turn one word into another.

# Levenshtein distance, with the last and the current row of the table only.
def edit_distance(a : String, b : String) : Int32
  last = (0..b.size).to_a
  (1..a.size).each do |i|
    row = [i]
    (1..b.size).each do |j|
      cost = a[i - 1] == b[j - 1] ? 0 : 1
      row << {last[j] + 1, row[j - 1] + 1, last[j - 1] + cost}.min
    end
    last = row
  end
  last[b.size]
end

# Shows an empty word as a pair of quotes.
def show(word : String) : String
  word.empty? ? "\"\"" : word
end

# Compares four pairs of words.
[{"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}].each do |a, b|
  puts "#{show(a)} #{show(b)} #{edit_distance(a, b)}"
end
