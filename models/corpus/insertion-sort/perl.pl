# Sorts lists of numbers by insertion.
use strict;
use warnings;

# Moves each value left past all larger ones, in place.
sub insertion_sort {
    my ($values) = @_;
    for my $i (1 .. $#$values) {
        my $value = $values->[$i];
        my $j = $i;
        while ($j > 0 && $values->[$j - 1] > $value) {
            $values->[$j] = $values->[$j - 1];
            $j--;
        }
        $values->[$j] = $value;
    }
}

# Sorts three lists and prints them.
sub main {
    for my $values ([5, 2, 9, 1, 5, 6], [3], [10, -2, 7, 0, -5]) {
        insertion_sort($values);
        print join(' ', @$values), "\n";
    }
}

main();
