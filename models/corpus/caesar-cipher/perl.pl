# Encrypts and decrypts texts with the Caesar cipher.
use strict;
use warnings;

# Moves a letter key places on in the alphabet; other signs stay.
sub shift_letter {
    my ($letter, $key) = @_;
    my $first;
    if ($letter =~ /[a-z]/) {
        $first = ord 'a';
    } elsif ($letter =~ /[A-Z]/) {
        $first = ord 'A';
    } else {
        return $letter;
    }
    return chr((ord($letter) - $first + $key) % 26 + $first);
}

# Shifts every letter of the text.
sub caesar {
    my ($text, $key) = @_;
    return join '', map { shift_letter($_, $key) } split //, $text;
}

# Encrypts two texts and decrypts them again.
sub main {
    for my $case (['Hello, World!', 3], ['Pack my box.', 13]) {
        my ($text, $key) = @$case;
        my $secret = caesar($text, $key);
        print "$secret\n";
        print caesar($secret, 26 - $key), "\n";
    }
}

main();
