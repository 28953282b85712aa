# Measures how many edits turn one word into another.
use strict;
use warnings;
use List::Util qw(min);

# Levenshtein distance, with the last and the current row of the table only.
sub edit_distance {
    my ($from, $to) = @_;
    my @last = (0 .. length $to);
    for my $i (1 .. length $from) {
        my @row = ($i);
        for my $j (1 .. length $to) {
            my $cost = substr($from, $i - 1, 1) eq substr($to, $j - 1, 1) ? 0 : 1;
            push @row, min($last[$j] + 1, $row[$j - 1] + 1, $last[$j - 1] + $cost);
        }
        @last = @row;
    }
    return $last[-1];
}

# Shows an empty word as a pair of quotes.
sub show {
    my ($word) = @_;
    return $word eq '' ? '""' : $word;
}

# Compares four pairs of words.
sub main {
    for my $pair (['kitten', 'sitting'], ['flaw', 'lawn'], ['', 'abc'], ['gumbo', 'gambol']) {
        my ($from, $to) = @$pair;
        print join(' ', show($from), show($to), edit_distance($from, $to)), "\n";
    }
}

main();
