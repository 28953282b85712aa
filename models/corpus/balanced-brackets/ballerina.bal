// Checks whether the brackets in a text are balanced.

import ballerina/io;

final readonly & map<string> openers = {")": "(", "]": "[", "}": "{"};

// Keeps the open brackets on a stack; each closing one must match the last.
function isBalanced(string text) returns boolean {
    string[] stack = [];
    foreach string:Char sign in text {
        match sign {
            "("|"["|"{" => {
                stack.push(sign);
            }
            ")"|"]"|"}" => {
                if stack.length() == 0 || stack.pop() != openers[sign] {
                    return false;
                }
            }
        }
    }
    return stack.length() == 0;
}

// Checks five texts.
public function main() {
    foreach string text in ["([]{})", "([)]", "{a(b)c}", "((", ""] {
        string verdict = isBalanced(text) ? "balanced" : "not balanced";
        io:println(string `"${text}" ${verdict}`);
    }
}
