// Checks whether the brackets in a text are balanced.

import std.stdio;

// Returns the open bracket that belongs to a closing one.
char openerOf(char closer)
{
    switch (closer)
    {
    case ')':
        return '(';
    case ']':
        return '[';
    default:
        return '{';
    }
}

// Keeps the open brackets on a stack; each closing one must match the last.
bool isBalanced(string text)
{
    char[] stack;
    foreach (sign; text)
    {
        switch (sign)
        {
        case '(', '[', '{':
            stack ~= sign;
            break;
        case ')', ']', '}':
            if (stack.length == 0 || stack[$ - 1] != openerOf(sign))
                return false;
            stack = stack[0 .. $ - 1];
            break;
        default:
            break;
        }
    }
    return stack.length == 0;
}

// Checks five texts.
void main()
{
    foreach (text; ["([]{})", "([)]", "{a(b)c}", "((", ""])
    {
        auto verdict = isBalanced(text) ? "balanced" : "not balanced";
        writefln(`"%s" %s`, text, verdict);
    }
}
