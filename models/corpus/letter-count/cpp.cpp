// Counts how often each letter occurs in a text.

#include <array>
#include <cctype>
#include <iostream>
#include <string>

// Returns 26 counts, from a to z; capitals count as small letters.
std::array<int, 26> count_letters(const std::string& text) {
    std::array<int, 26> counts{};
    for (unsigned char sign : text) {
        int lower = std::tolower(sign);
        if (lower >= 'a' && lower <= 'z') {
            ++counts[lower - 'a'];
        }
    }
    return counts;
}

// Prints the letters that occur at least twice.
int main() {
    const auto counts = count_letters("The quick brown fox jumps over the lazy dog again");
    for (std::size_t index = 0; index < counts.size(); ++index) {
        if (counts[index] >= 2) {
            char letter = static_cast<char>('a' + index);
            std::cout << letter << '=' << counts[index] << '\n';
        }
    }
}
