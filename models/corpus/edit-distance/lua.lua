-- Measures how many edits turn one word into another.

-- Levenshtein distance, with the last and the current row of the table only.
local function edit_distance(a, b)
  local last = {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = {[0] = i}
    for j = 1, #b do
      local cost = a:sub(i, i) == b:sub(j, j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
    end
    last = row
  end
  return last[#b]
end

-- Shows an empty word as a pair of quotes.
local function show(word)
  return word == "" and '""' or word
end

-- Compares four pairs of words.
local function main()
  for _, pair in ipairs({{"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}}) do
    local a, b = pair[1], pair[2]
    print(show(a) .. " " .. show(b) .. " " .. edit_distance(a, b))
  end
end

main()
