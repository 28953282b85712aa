# Checks numbers by the Luhn formula.
use strict;
use warnings;

# Adds the digits from the right, every second one doubled (less 9 above 9).
sub luhn_sum {
    my @digits = reverse @_;
    my $total = 0;
    for my $position (0 .. $#digits) {
        my $digit = $digits[$position];
        if ($position % 2 == 1) {
            $digit *= 2;
            if ($digit > 9) {
                $digit -= 9;
            }
        }
        $total += $digit;
    }
    return $total;
}

# Says whether a number, spaces allowed, passes the check.
sub is_valid {
    my ($number) = @_;
    my @digits;
    for my $sign (split //, $number) {
        next if $sign eq ' ';
        return 0 if $sign !~ /[0-9]/;
        push @digits, $sign;
    }
    return @digits >= 2 && luhn_sum(@digits) % 10 == 0;
}

# Checks five numbers.
sub main {
    for my $number ('4539 3195 0343 6467', '8273 1232 7352 0569', '0', '059', '05a9') {
        my $verdict = is_valid($number) ? 'valid' : 'invalid';
        print "$number $verdict\n";
    }
}

main();
