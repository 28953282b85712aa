// Encrypts and decrypts texts with the Caesar cipher.

#include <iostream>
#include <string>
#include <utility>
#include <vector>

// Moves a letter key places on in the alphabet; other signs stay.
char shift(char letter, int key) {
    char first;
    if (letter >= 'a' && letter <= 'z') {
        first = 'a';
    } else if (letter >= 'A' && letter <= 'Z') {
        first = 'A';
    } else {
        return letter;
    }
    return static_cast<char>((letter - first + key) % 26 + first);
}

// Shifts every letter of the text.
std::string caesar(const std::string& text, int key) {
    std::string result;
    for (char letter : text) {
        result += shift(letter, key);
    }
    return result;
}

// Encrypts two texts and decrypts them again.
int main() {
    const std::vector<std::pair<std::string, int>> cases{{"Hello, World!", 3}, {"Pack my box.", 13}};
    for (const auto& [text, key] : cases) {
        std::string secret = caesar(text, key);
        std::cout << secret << '\n';
        std::cout << caesar(secret, 26 - key) << '\n';
    }
}
