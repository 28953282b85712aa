-- Finds numbers in a sorted list by halving the range that may hold them.
module Main where

import Data.Array (Array, bounds, listArray, (!))

-- Returns the index of target in the sorted values, or Nothing.
binarySearch :: Array Int Int -> Int -> Maybe Int
binarySearch values target = uncurry search (bounds values)
  where
    search low high
      | low > high = Nothing
      | value == target = Just middle
      | value < target = search (middle + 1) high
      | otherwise = search low (middle - 1)
      where
        middle = (low + high) `div` 2
        value = values ! middle

-- Says where the target was found.
report :: Array Int Int -> Int -> String
report values target = case binarySearch values target of
  Just index -> show target ++ " at " ++ show index
  Nothing -> show target ++ " not found"

-- Searches for five numbers, some of them absent.
main :: IO ()
main = mapM_ (putStrLn . report values) [6, 1, 22, 13, 0]
  where
    values = listArray (0, 8) [1, 3, 4, 6, 8, 9, 11, 15, 22]
