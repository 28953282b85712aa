# Lists prime numbers with the sieve of Eratosthenes.
use strict;
use warnings;

# Returns all primes from 2 up to and including limit.
sub primes_up_to {
    my ($limit) = @_;
    my @is_prime = (1) x ($limit + 1);
    my @primes;
    for my $number (2 .. $limit) {
        next unless $is_prime[$number];
        push @primes, $number;
        for (my $multiple = $number * $number; $multiple <= $limit; $multiple += $number) {
            $is_prime[$multiple] = 0;
        }
    }
    return @primes;
}

# Prints the primes up to three limits.
sub main {
    for my $limit (10, 30, 60) {
        print join(' ', primes_up_to($limit)), "\n";
    }
}

main();
