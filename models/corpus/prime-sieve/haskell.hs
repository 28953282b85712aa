-- Lists prime numbers with the sieve of Eratosthenes.
module Main where

import Control.Monad (forM_, when)
import Data.Array.ST (newArray, readArray, runSTUArray, writeArray)
import Data.Array.Unboxed (UArray, assocs)

-- Marks which numbers up to and including limit are prime.
sieve :: Int -> UArray Int Bool
sieve limit = runSTUArray $ do
  isPrime <- newArray (2, limit) True
  forM_ [2 .. limit] $ \number -> do
    prime <- readArray isPrime number
    when prime $
      forM_ [number * number, number * number + number .. limit] $ \multiple ->
        writeArray isPrime multiple False
  return isPrime

-- Returns all primes from 2 up to and including limit.
primesUpTo :: Int -> [Int]
primesUpTo limit = [number | (number, True) <- assocs (sieve limit)]

-- Prints the primes up to three limits.
main :: IO ()
main = mapM_ (putStrLn . unwords . map show . primesUpTo) [10, 30, 60]
