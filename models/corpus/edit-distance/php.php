<?php
// Measures how many edits turn one word into another.

// Levenshtein distance, with the last and the current row of the table only.
function editDistance(string $a, string $b): int
{
    $last = range(0, strlen($b));
    for ($i = 1; $i <= strlen($a); $i++) {
        $row = [$i];
        for ($j = 1; $j <= strlen($b); $j++) {
            $cost = $a[$i - 1] === $b[$j - 1] ? 0 : 1;
            $row[] = min($last[$j] + 1, $row[$j - 1] + 1, $last[$j - 1] + $cost);
        }
        $last = $row;
    }
    return $last[strlen($b)];
}

// Shows an empty word as a pair of quotes.
function show(string $word): string
{
    return $word === '' ? '""' : $word;
}

// Compares four pairs of words.
function main(): void
{
    foreach ([['kitten', 'sitting'], ['flaw', 'lawn'], ['', 'abc'], ['gumbo', 'gambol']] as [$a, $b]) {
        echo show($a), ' ', show($b), ' ', editDistance($a, $b), "\n";
    }
}

main();
