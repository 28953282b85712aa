# Checks whether the brackets in a text are balanced.

const OPENERS = Dict(')' => '(', ']' => '[', '}' => '{')

# Keeps the open brackets on a stack; each closing one must match the last.
function is_balanced(text)
    stack = Char[]
    for sign in text
        if sign in "([{"
            push!(stack, sign)
        elseif haskey(OPENERS, sign)
            if isempty(stack) || pop!(stack) != OPENERS[sign]
                return false
            end
        end
    end
    return isempty(stack)
end

# Checks five texts.
function main()
    for text in ["([]{})", "([)]", "{a(b)c}", "((", ""]
        verdict = is_balanced(text) ? "balanced" : "not balanced"
        println("\"$text\" $verdict")
    end
end

main()
