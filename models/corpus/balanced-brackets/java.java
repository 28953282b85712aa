// Checks whether the brackets in a text are balanced.

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Map;

class BalancedBrackets {
    static final Map<Character, Character> OPENERS = Map.of(')', '(', ']', '[', '}', '{');

    // Keeps the open brackets on a stack; each closing one must match the last.
    static boolean isBalanced(String text) {
        Deque<Character> stack = new ArrayDeque<>();
        for (char sign : text.toCharArray()) {
            if (OPENERS.containsValue(sign)) {
                stack.push(sign);
            } else if (OPENERS.containsKey(sign)) {
                if (stack.isEmpty() || !stack.pop().equals(OPENERS.get(sign))) {
                    return false;
                }
            }
        }
        return stack.isEmpty();
    }

    // Checks five texts.
    public static void main(String[] args) {
        for (String text : new String[] {"([]{})", "([)]", "{a(b)c}", "((", ""}) {
            String verdict = isBalanced(text) ? "balanced" : "not balanced";
            System.out.println("\"" + text + "\" " + verdict);
        }
    }
}
