# Checks whether the brackets in a text are balanced.

OPENERS = {')' => '(', ']' => '[', '}' => '{'}

# Keeps the open brackets on a stack; each closing one must match the last.
def balanced?(text : String) : Bool
  stack = [] of Char
  text.each_char do |sign|
    case sign
    when '(', '[', '{'
      stack << sign
    when ')', ']', '}'
      return false if stack.pop? != OPENERS[sign]
    end
  end
  stack.empty?
end

# Checks five texts.
["([]{})", "([)]", "{a(b)c}", "((", ""].each do |text|
  verdict = balanced?(text) ? "balanced" : "not balanced"
  puts "\"#{text}\" #{verdict}"
end
