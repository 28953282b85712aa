-- Measures how many edits turn one word into another.
module Main where

-- Computes the next row of the table from the last one and a letter of a.
nextRow :: String -> [Int] -> Char -> [Int]
nextRow b row letter = scanl step (head row + 1) (zip3 b row (tail row))
  where
    step left (other, corner, above) = minimum [above + 1, left + 1, corner + cost]
      where
        cost = if letter == other then 0 else 1

-- Levenshtein distance, with the last and the current row of the table only.
editDistance :: String -> String -> Int
editDistance a b = last (foldl (nextRow b) [0 .. length b] a)

-- Shows an empty word as a pair of quotes.
display :: String -> String
display word = if null word then "\"\"" else word

-- Compares two words.
report :: (String, String) -> String
report (a, b) = unwords [display a, display b, show (editDistance a b)]

-- Compares four pairs of words.
main :: IO ()
main = mapM_ (putStrLn . report) [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]
