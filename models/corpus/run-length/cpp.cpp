// Writes runs of equal letters as a count and the letter, and reads them back.

#include <cctype>
#include <iostream>
#include <string>

// Turns each run of equal letters into its length and the letter.
std::string encode(const std::string& text) {
    std::string code;
    std::size_t start = 0;
    while (start < text.size()) {
        std::size_t end = start;
        while (end < text.size() && text[end] == text[start]) {
            ++end;
        }
        code += std::to_string(end - start) + text[start];
        start = end;
    }
    return code;
}

// Repeats each letter as often as the count before it says.
std::string decode(const std::string& code) {
    std::string text;
    int count = 0;
    for (unsigned char sign : code) {
        if (std::isdigit(sign)) {
            count = count * 10 + (sign - '0');
        } else {
            text.append(count, sign);
            count = 0;
        }
    }
    return text;
}

// Encodes and decodes three texts.
int main() {
    for (const std::string text : {"aaaabbc", "wwwwwwwwwwwwb", "abc"}) {
        std::string code = encode(text);
        std::cout << text << " -> " << code << " -> " << decode(code) << '\n';
    }
}
