// Checks whether the brackets in a text are balanced.

#include <iostream>
#include <map>
#include <stack>
#include <string>

const std::map<char, char> OPENERS{{')', '('}, {']', '['}, {'}', '{'}};

// Keeps the open brackets on a stack; each closing one must match the last.
bool is_balanced(const std::string& text) {
    std::stack<char> stack;
    for (char sign : text) {
        if (sign == '(' || sign == '[' || sign == '{') {
            stack.push(sign);
        } else if (auto opener = OPENERS.find(sign); opener != OPENERS.end()) {
            if (stack.empty() || stack.top() != opener->second) {
                return false;
            }
            stack.pop();
        }
    }
    return stack.empty();
}

// Checks five texts.
int main() {
    for (const std::string text : {"([]{})", "([)]", "{a(b)c}", "((", ""}) {
        const char* verdict = is_balanced(text) ? "balanced" : "not balanced";
        std::cout << '"' << text << "\" " << verdict << '\n';
    }
}
