// Multiplies two matrices.

#include <iostream>
#include <vector>

using Matrix = std::vector<std::vector<int>>;

// Returns the product of a and b, row by row.
Matrix multiply(const Matrix& a, const Matrix& b) {
    const auto rows = a.size(), inner = b.size(), columns = b[0].size();
    Matrix product(rows, std::vector<int>(columns));
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < columns; ++j) {
            for (std::size_t k = 0; k < inner; ++k) {
                product[i][j] += a[i][k] * b[k][j];
            }
        }
    }
    return product;
}

// Prints one row a line, its numbers joined by spaces.
void print_matrix(const Matrix& matrix) {
    for (const auto& row : matrix) {
        const char* separator = "";
        for (int number : row) {
            std::cout << separator << number;
            separator = " ";
        }
        std::cout << '\n';
    }
}

// Multiplies the matrices in both orders.
int main() {
    const Matrix a{{1, 2, 3}, {4, 5, 6}};
    const Matrix b{{7, 8}, {9, 10}, {11, 12}};
    print_matrix(multiply(a, b));
    print_matrix(multiply(b, a));
}
