-- Checks whether the brackets in a text are balanced.

-- Returns the open bracket that belongs to a closing one.
def opener_of (closer: u8) : u8 =
  match closer
  case ')' -> '('
  case ']' -> '['
  case _ -> '{'

-- Says whether the signs hold a sign.
def contains [n] (signs: [n]u8) (sign: u8) : bool =
  any (== sign) signs

-- Keeps the open brackets on a stack; each closing one must match the last.
def is_balanced [n] (text: [n]u8) : bool =
  let (stack, matched) =
    loop (stack: []u8, matched: bool) = ([], true) for sign in text do
      if contains "([{" sign
      then ([sign] ++ stack, matched)
      else if contains ")]}" sign
      then if null stack || head stack != opener_of sign
           then (stack, false)
           else (tail stack, matched)
      else (stack, matched)
  in matched && null stack

-- Checks five texts.
entry nested = is_balanced "([]{})"
entry crossed = is_balanced "([)]"
entry with_letters = is_balanced "{a(b)c}"
entry unclosed = is_balanced "(("
entry nothing = is_balanced ""
