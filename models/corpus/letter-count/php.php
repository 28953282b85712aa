<?php
// Counts how often each letter occurs in a text.

// Returns 26 counts, from a to z; capitals count as small letters.
function countLetters(string $text): array
{
    $counts = array_fill(0, 26, 0);
    foreach (str_split(strtolower($text)) as $sign) {
        if ($sign >= 'a' && $sign <= 'z') {
            $counts[ord($sign) - ord('a')]++;
        }
    }
    return $counts;
}

// Prints the letters that occur at least twice.
function main(): void
{
    $counts = countLetters('The quick brown fox jumps over the lazy dog again');
    foreach ($counts as $index => $count) {
        if ($count >= 2) {
            $letter = chr(ord('a') + $index);
            echo "$letter=$count\n";
        }
    }
}

main();
