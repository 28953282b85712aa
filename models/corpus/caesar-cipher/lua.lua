-- Encrypts and decrypts texts with the Caesar cipher.

-- Moves a letter key places on in the alphabet; other signs stay.
local function shift(letter, key)
  local first
  if letter:match("%l") then
    first = string.byte("a")
  elseif letter:match("%u") then
    first = string.byte("A")
  else
    return letter
  end
  return string.char((letter:byte() - first + key) % 26 + first)
end

-- Shifts every letter of the text.
local function caesar(text, key)
  local result = ""
  for letter in text:gmatch(".") do
    result = result .. shift(letter, key)
  end
  return result
end

-- Encrypts two texts and decrypts them again.
local function main()
  for _, case in ipairs({{"Hello, World!", 3}, {"Pack my box.", 13}}) do
    local text, key = case[1], case[2]
    local secret = caesar(text, key)
    print(secret)
    print(caesar(secret, 26 - key))
  end
end

main()
