-- Writes numbers as Roman numerals.
module Main where

numerals :: [(Int, String)]
numerals =
  [ (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I")
  ]

-- Takes the largest numeral that fits until nothing is left.
toRoman :: Int -> String
toRoman = go numerals
  where
    go [] _ = ""
    go table@((value, numeral) : rest) number
      | number >= value = numeral ++ go table (number - value)
      | otherwise = go rest number

-- Prints six numbers and their numerals.
main :: IO ()
main = mapM_ printRoman [4, 9, 14, 90, 1994, 2024]
  where
    printRoman number = putStrLn (show number ++ " = " ++ toRoman number)
