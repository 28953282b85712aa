-- Checks whether the brackets in a text are balanced.

local OPENERS = {[")"] = "(", ["]"] = "[", ["}"] = "{"}

-- Keeps the open brackets on a stack; each closing one must match the last.
local function is_balanced(text)
  local stack = {}
  for sign in text:gmatch(".") do
    if sign:match("[(%[{]") then
      table.insert(stack, sign)
    elseif OPENERS[sign] then
      if table.remove(stack) ~= OPENERS[sign] then
        return false
      end
    end
  end
  return #stack == 0
end

-- Checks five texts.
local function main()
  for _, text in ipairs({"([]{})", "([)]", "{a(b)c}", "((", ""}) do
    local verdict = is_balanced(text) and "balanced" or "not balanced"
    print('"' .. text .. '" ' .. verdict)
  end
end

main()
