# Finds numbers in a sorted list by halving the range that may hold them.
use strict;
use warnings;

# Returns the index of target in the sorted values, or -1.
sub binary_search {
    my ($values, $target) = @_;
    my $low = 0;
    my $high = $#$values;
    while ($low <= $high) {
        my $middle = int(($low + $high) / 2);
        if ($values->[$middle] == $target) {
            return $middle;
        }
        if ($values->[$middle] < $target) {
            $low = $middle + 1;
        } else {
            $high = $middle - 1;
        }
    }
    return -1;
}

# Searches for five numbers, some of them absent.
sub main {
    my @values = (1, 3, 4, 6, 8, 9, 11, 15, 22);
    for my $target (6, 1, 22, 13, 0) {
        my $index = binary_search(\@values, $target);
        if ($index >= 0) {
            print "$target at $index\n";
        } else {
            print "$target not found\n";
        }
    }
}

main();
