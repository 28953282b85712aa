# Multiplies two matrices.
use strict;
use warnings;

# Returns the product of a and b, row by row.
sub multiply {
    my ($x, $y) = @_;
    my @product;
    for my $i (0 .. $#$x) {
        for my $j (0 .. $#{ $y->[0] }) {
            $product[$i][$j] = 0;
            for my $k (0 .. $#$y) {
                $product[$i][$j] += $x->[$i][$k] * $y->[$k][$j];
            }
        }
    }
    return \@product;
}

# Prints one row a line, its numbers joined by spaces.
sub print_matrix {
    my ($matrix) = @_;
    for my $row (@$matrix) {
        print "@$row\n";
    }
}

# Multiplies the matrices in both orders.
sub main {
    my $x = [[1, 2, 3], [4, 5, 6]];
    my $y = [[7, 8], [9, 10], [11, 12]];
    print_matrix(multiply($x, $y));
    print_matrix(multiply($y, $x));
}

main();
