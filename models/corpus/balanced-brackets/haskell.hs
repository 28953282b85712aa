-- Checks whether the brackets in a text are balanced.
module Main where

openers :: [(Char, Char)]
openers = [(')', '('), (']', '['), ('}', '{')]

-- Keeps the open brackets on a stack; each closing one must match the last.
isBalanced :: String -> Bool
isBalanced = go []
  where
    go stack [] = null stack
    go stack (sign : rest)
      | sign `elem` "([{" = go (sign : stack) rest
      | otherwise = case lookup sign openers of
          Nothing -> go stack rest
          Just opener -> case stack of
            top : below | top == opener -> go below rest
            _ -> False

-- Says whether a text is balanced.
report :: String -> String
report text = "\"" ++ text ++ "\" " ++ verdict
  where
    verdict = if isBalanced text then "balanced" else "not balanced"

-- Checks five texts.
main :: IO ()
main = mapM_ (putStrLn . report) ["([]{})", "([)]", "{a(b)c}", "((", ""]
