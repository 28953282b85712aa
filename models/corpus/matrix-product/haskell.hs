-- Multiplies two matrices.
module Main where

import Data.List (transpose)

type Matrix = [[Int]]

-- Returns the product of a and b, row by row.
multiply :: Matrix -> Matrix -> Matrix
multiply a b = [[sum (zipWith (*) row column) | column <- transpose b] | row <- a]

-- Prints one row a line, its numbers joined by spaces.
printMatrix :: Matrix -> IO ()
printMatrix = mapM_ (putStrLn . unwords . map show)

-- Multiplies the matrices in both orders.
main :: IO ()
main = do
  let a = [[1, 2, 3], [4, 5, 6]]
      b = [[7, 8], [9, 10], [11, 12]]
  printMatrix (multiply a b)
  printMatrix (multiply b a)
