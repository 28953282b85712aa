# Checks whether the brackets in a text are balanced.

OPENERS = { ")" => "(", "]" => "[", "}" => "{" }.freeze

# Keeps the open brackets on a stack; each closing one must match the last.
def balanced?(text)
  stack = []
  text.each_char do |sign|
    if "([{".include?(sign)
      stack.push(sign)
    elsif OPENERS.key?(sign) && stack.pop != OPENERS[sign]
      return false
    end
  end
  stack.empty?
end

# Checks five texts.
def main
  ["([]{})", "([)]", "{a(b)c}", "((", ""].each do |text|
    verdict = balanced?(text) ? "balanced" : "not balanced"
    puts "\"#{text}\" #{verdict}"
  end
end

main
