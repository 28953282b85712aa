-- Checks numbers by the Luhn formula.
module Main where

import Data.Char (digitToInt, isDigit)

-- Adds the digits from the right, every second one doubled (less 9 above 9).
luhnSum :: [Int] -> Int
luhnSum digits = sum (zipWith weigh [0 :: Int ..] (reverse digits))
  where
    weigh position digit
      | even position = digit
      | digit * 2 > 9 = digit * 2 - 9
      | otherwise = digit * 2

-- Says whether a number, spaces allowed, passes the check.
isValid :: String -> Bool
isValid number = all isDigit signs && length signs >= 2 && luhnSum (map digitToInt signs) `mod` 10 == 0
  where
    signs = filter (/= ' ') number

-- Says whether a number is valid.
report :: String -> String
report number = number ++ " " ++ (if isValid number then "valid" else "invalid")

-- Checks five numbers.
main :: IO ()
main = mapM_ (putStrLn . report) ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]
