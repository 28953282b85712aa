# Counts how often each letter occurs in a text.
use strict;
use warnings;

# Returns 26 counts, from a to z; capitals count as small letters.
sub count_letters {
    my ($text) = @_;
    my @counts = (0) x 26;
    for my $sign (split //, lc $text) {
        if ($sign =~ /[a-z]/) {
            $counts[ord($sign) - ord('a')]++;
        }
    }
    return @counts;
}

# Prints the letters that occur at least twice.
sub main {
    my @counts = count_letters('The quick brown fox jumps over the lazy dog again');
    for my $index (0 .. $#counts) {
        if ($counts[$index] >= 2) {
            my $letter = chr(ord('a') + $index);
            print "$letter=$counts[$index]\n";
        }
    }
}

main();
