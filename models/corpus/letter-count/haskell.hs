-- Counts how often each letter occurs in a text.
module Main where

import Data.Array (Array, accumArray, assocs)
import Data.Char (isAsciiLower, toLower)

-- Returns 26 counts, from a to z; capitals count as small letters.
countLetters :: String -> Array Char Int
countLetters text = accumArray (+) 0 ('a', 'z') [(sign, 1) | sign <- map toLower text, isAsciiLower sign]

-- Shows a letter and its count.
report :: (Char, Int) -> String
report (letter, count) = [letter] ++ "=" ++ show count

-- Prints the letters that occur at least twice.
main :: IO ()
main = mapM_ (putStrLn . report) (filter ((>= 2) . snd) (assocs counts))
  where
    counts = countLetters "The quick brown fox jumps over the lazy dog again"
