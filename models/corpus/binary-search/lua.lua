-- Finds numbers in a sorted list by halving the range that may hold them.

-- Returns the index of target in the sorted values, counted from 0, or -1.
local function binary_search(values, target)
  local low = 1
  local high = #values
  while low <= high do
    local middle = (low + high) // 2
    if values[middle] == target then
      return middle - 1
    end
    if values[middle] < target then
      low = middle + 1
    else
      high = middle - 1
    end
  end
  return -1
end

-- Searches for five numbers, some of them absent.
local function main()
  local values = {1, 3, 4, 6, 8, 9, 11, 15, 22}
  for _, target in ipairs({6, 1, 22, 13, 0}) do
    local index = binary_search(values, target)
    if index >= 0 then
      print(target .. " at " .. index)
    else
      print(target .. " not found")
    end
  end
end

main()
