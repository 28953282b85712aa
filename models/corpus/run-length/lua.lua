-- Writes runs of equal letters as a count and the letter, and reads them back.

-- Turns each run of equal letters into its length and the letter.
local function encode(text)
  local code = ""
  local start = 1
  while start <= #text do
    local letter = text:sub(start, start)
    local finish = start
    while finish <= #text and text:sub(finish, finish) == letter do
      finish = finish + 1
    end
    code = code .. (finish - start) .. letter
    start = finish
  end
  return code
end

-- Repeats each letter as often as the count before it says.
local function decode(code)
  local text = ""
  local count = 0
  for sign in code:gmatch(".") do
    if sign:match("%d") then
      count = count * 10 + tonumber(sign)
    else
      text = text .. sign:rep(count)
      count = 0
    end
  end
  return text
end

-- Encodes and decodes three texts.
local function main()
  for _, text in ipairs({"aaaabbc", "wwwwwwwwwwwwb", "abc"}) do
    local code = encode(text)
    print(text .. " -> " .. code .. " -> " .. decode(code))
  end
end

main()
