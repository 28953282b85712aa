-- Counts how often each letter occurs in a text.

-- Returns 26 counts, from a to z; capitals count as small letters.
local function count_letters(text)
  local counts = {}
  for index = 1, 26 do
    counts[index] = 0
  end
  for sign in text:lower():gmatch("%l") do
    local index = sign:byte() - string.byte("a") + 1
    counts[index] = counts[index] + 1
  end
  return counts
end

-- Prints the letters that occur at least twice.
local function main()
  local counts = count_letters("The quick brown fox jumps over the lazy dog again")
  for index, count in ipairs(counts) do
    if count >= 2 then
      local letter = string.char(string.byte("a") + index - 1)
      print(letter .. "=" .. count)
    end
  end
end

main()
