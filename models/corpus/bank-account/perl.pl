# Keeps a bank account that refuses wrong amounts.
use strict;
use warnings;

package Account;

# Opens an empty account for its owner.
sub new {
    my ($class, $owner) = @_;
    return bless { owner => $owner, balance => 0 }, $class;
}

# Adds a positive amount to the balance.
sub deposit {
    my ($self, $amount) = @_;
    die "invalid amount\n" if $amount <= 0;
    $self->{balance} += $amount;
}

# Takes a positive amount that the balance covers.
sub withdraw {
    my ($self, $amount) = @_;
    die "invalid amount\n" if $amount <= 0;
    die "insufficient funds\n" if $amount > $self->{balance};
    $self->{balance} -= $amount;
}

package main;

# Carries out one action and prints the new balance or the error.
sub run {
    my ($account, $action, $amount) = @_;
    eval {
        if ($action eq 'deposit') {
            $account->deposit($amount);
        } else {
            $account->withdraw($amount);
        }
        print "$action $amount: balance $account->{balance}\n";
        1;
    } or print "$action $amount: $@";
}

# Runs five actions on one account.
sub main {
    my $account = Account->new('ada');
    run($account, 'deposit', 100);
    run($account, 'withdraw', 30);
    run($account, 'withdraw', 100);
    run($account, 'deposit', -5);
    run($account, 'deposit', 50);
    print "$account->{owner} has $account->{balance}\n";
}

main();
