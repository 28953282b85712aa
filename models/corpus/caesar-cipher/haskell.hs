-- Encrypts and decrypts texts with the Caesar cipher.
module Main where

import Data.Char (chr, isAsciiLower, isAsciiUpper, ord)

-- Moves a letter key places on in the alphabet; other signs stay.
shift :: Int -> Char -> Char
shift key letter
  | isAsciiLower letter = rotate 'a'
  | isAsciiUpper letter = rotate 'A'
  | otherwise = letter
  where
    rotate first = chr ((ord letter - ord first + key) `mod` 26 + ord first)

-- Shifts every letter of the text.
caesar :: Int -> String -> String
caesar key = map (shift key)

-- Encrypts a text and decrypts it again.
report :: (String, Int) -> IO ()
report (text, key) = do
  let secret = caesar key text
  putStrLn secret
  putStrLn (caesar (26 - key) secret)

-- Encrypts two texts and decrypts them again.
main :: IO ()
main = mapM_ report [("Hello, World!", 3), ("Pack my box.", 13)]
