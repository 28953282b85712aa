-- Writes numbers as Roman numerals.

local NUMERALS = {
  {1000, "M"},
  {900, "CM"},
  {500, "D"},
  {400, "CD"},
  {100, "C"},
  {90, "XC"},
  {50, "L"},
  {40, "XL"},
  {10, "X"},
  {9, "IX"},
  {5, "V"},
  {4, "IV"},
  {1, "I"},
}

-- Takes the largest numeral that fits until nothing is left.
local function to_roman(number)
  local roman = ""
  for _, entry in ipairs(NUMERALS) do
    local value, numeral = entry[1], entry[2]
    while number >= value do
      roman = roman .. numeral
      number = number - value
    end
  end
  return roman
end

-- Prints six numbers and their numerals.
local function main()
  for _, number in ipairs({4, 9, 14, 90, 1994, 2024}) do
    print(number .. " = " .. to_roman(number))
  end
end

main()
