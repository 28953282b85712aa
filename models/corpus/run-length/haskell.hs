-- Writes runs of equal letters as a count and the letter, and reads them back.
module Main where

import Data.Char (isDigit)
import Data.List (group)

-- Turns each run of equal letters into its length and the letter.
encode :: String -> String
encode text = concatMap encodeRun (group text)
  where
    encodeRun run = show (length run) ++ [head run]

-- Repeats each letter as often as the count before it says.
decode :: String -> String
decode "" = ""
decode code = case span isDigit code of
  (count, letter : rest) -> replicate (read count) letter ++ decode rest
  (_, "") -> ""

-- Encodes and decodes a text.
report :: String -> String
report text = text ++ " -> " ++ code ++ " -> " ++ decode code
  where
    code = encode text

-- Encodes and decodes three texts.
main :: IO ()
main = mapM_ (putStrLn . report) ["aaaabbc", "wwwwwwwwwwwwb", "abc"]
