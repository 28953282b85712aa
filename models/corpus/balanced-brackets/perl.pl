# Checks whether the brackets in a text are balanced.
use strict;
use warnings;

my %OPENERS = (')' => '(', ']' => '[', '}' => '{');

# Keeps the open brackets on a stack; each closing one must match the last.
sub is_balanced {
    my ($text) = @_;
    my @stack;
    for my $sign (split //, $text) {
        if ($sign =~ /[(\[{]/) {
            push @stack, $sign;
        } elsif (exists $OPENERS{$sign}) {
            if (!@stack || pop @stack ne $OPENERS{$sign}) {
                return 0;
            }
        }
    }
    return !@stack;
}

# Checks five texts.
sub main {
    for my $text ('([]{})', '([)]', '{a(b)c}', '((', '') {
        my $verdict = is_balanced($text) ? 'balanced' : 'not balanced';
        print "\"$text\" $verdict\n";
    }
}

main();
