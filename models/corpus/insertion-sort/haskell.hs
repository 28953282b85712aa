-- Sorts lists of numbers by insertion.
module Main where

-- Puts a value before the first larger one of a sorted list.
insert :: Int -> [Int] -> [Int]
insert value [] = [value]
insert value (first : rest)
  | first > value = value : first : rest
  | otherwise = first : insert value rest

-- Inserts each value into the sorted ones before it.
insertionSort :: [Int] -> [Int]
insertionSort = foldl (flip insert) []

-- Sorts three lists and prints them.
main :: IO ()
main = mapM_ (putStrLn . unwords . map show . insertionSort) lists
  where
    lists = [[5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]]
