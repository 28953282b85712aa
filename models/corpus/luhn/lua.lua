-- Checks numbers by the Luhn formula.

-- Adds the digits from the right, every second one doubled (less 9 above 9).
local function luhn_sum(digits)
  local total = 0
  for position = 0, #digits - 1 do
    local digit = digits[#digits - position]
    if position % 2 == 1 then
      digit = digit * 2
      if digit > 9 then
        digit = digit - 9
      end
    end
    total = total + digit
  end
  return total
end

-- Says whether a number, spaces allowed, passes the check.
local function is_valid(number)
  local digits = {}
  for sign in number:gmatch("[^ ]") do
    if not sign:match("%d") then
      return false
    end
    table.insert(digits, tonumber(sign))
  end
  return #digits >= 2 and luhn_sum(digits) % 10 == 0
end

-- Checks five numbers.
local function main()
  for _, number in ipairs({"4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"}) do
    local verdict = is_valid(number) and "valid" or "invalid"
    print(number .. " " .. verdict)
  end
end

main()
