# Writes runs of equal letters as a count and the letter, and reads them back.
use strict;
use warnings;

# Turns each run of equal letters into its length and the letter.
sub encode {
    my ($text) = @_;
    my @letters = split //, $text;
    my $code = '';
    my $start = 0;
    while ($start < @letters) {
        my $end = $start;
        while ($end < @letters && $letters[$end] eq $letters[$start]) {
            $end++;
        }
        $code .= ($end - $start) . $letters[$start];
        $start = $end;
    }
    return $code;
}

# Repeats each letter as often as the count before it says.
sub decode {
    my ($code) = @_;
    my $text = '';
    my $count = 0;
    for my $sign (split //, $code) {
        if ($sign =~ /\d/) {
            $count = $count * 10 + $sign;
        } else {
            $text .= $sign x $count;
            $count = 0;
        }
    }
    return $text;
}

# Encodes and decodes three texts.
sub main {
    for my $text ('aaaabbc', 'wwwwwwwwwwwwb', 'abc') {
        my $code = encode($text);
        my $decoded = decode($code);
        print "$text -> $code -> $decoded\n";
    }
}

main();
