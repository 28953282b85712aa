-- Sorts lists of numbers by insertion.

-- Moves each value left past all larger ones, in place.
local function insertion_sort(values)
  for i = 2, #values do
    local value = values[i]
    local j = i
    while j > 1 and values[j - 1] > value do
      values[j] = values[j - 1]
      j = j - 1
    end
    values[j] = value
  end
end

-- Sorts three lists and prints them.
local function main()
  for _, values in ipairs({{5, 2, 9, 1, 5, 6}, {3}, {10, -2, 7, 0, -5}}) do
    insertion_sort(values)
    print(table.concat(values, " "))
  end
end

main()
