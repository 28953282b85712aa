// Measures how many edits turn one word into another.

#include <algorithm>
#include <iostream>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

// Levenshtein distance, with the last and the current row of the table only.
int edit_distance(const std::string& a, const std::string& b) {
    std::vector<int> last(b.size() + 1);
    std::vector<int> row(b.size() + 1);
    std::iota(last.begin(), last.end(), 0);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = static_cast<int>(i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + cost});
        }
        std::swap(last, row);
    }
    return last[b.size()];
}

// Shows an empty word as a pair of quotes.
std::string show(const std::string& word) {
    return word.empty() ? "\"\"" : word;
}

// Compares four pairs of words.
int main() {
    const std::vector<std::pair<std::string, std::string>> pairs{
        {"kitten", "sitting"}, {"flaw", "lawn"}, {"", "abc"}, {"gumbo", "gambol"}};
    for (const auto& [a, b] : pairs) {
        std::cout << show(a) << ' ' << show(b) << ' ' << edit_distance(a, b) << '\n';
    }
}
