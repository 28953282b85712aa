-- Measures how many edits turn one word into another.

-- Levenshtein distance, with the last and the current row of the table only.
def edit_distance [n] [m] (a: [n]u8) (b: [m]u8) : i64 =
  let last =
    loop (last: [m + 1]i64) = iota (m + 1) for i < n do
      loop (row: *[m + 1]i64) = replicate (m + 1) (i + 1) for j < m do
        let cost = if a[i] == b[j] then 0 else 1
        let shorter = i64.min (last[j + 1] + 1) (row[j] + 1)
        in row with [j + 1] = i64.min shorter (last[j] + cost)
  in last[m]

-- Compares four pairs of words.
entry kitten_sitting = edit_distance "kitten" "sitting"
entry flaw_lawn = edit_distance "flaw" "lawn"
entry nothing_abc = edit_distance "" "abc"
entry gumbo_gambol = edit_distance "gumbo" "gambol"
