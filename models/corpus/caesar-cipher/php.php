<?php
// Encrypts and decrypts texts with the Caesar cipher.

// Moves a letter key places on in the alphabet; other signs stay.
function shift(string $letter, int $key): string
{
    if ($letter >= 'a' && $letter <= 'z') {
        $first = ord('a');
    } elseif ($letter >= 'A' && $letter <= 'Z') {
        $first = ord('A');
    } else {
        return $letter;
    }
    return chr((ord($letter) - $first + $key) % 26 + $first);
}

// Shifts every letter of the text.
function caesar(string $text, int $key): string
{
    $result = '';
    foreach (str_split($text) as $letter) {
        $result .= shift($letter, $key);
    }
    return $result;
}

// Encrypts two texts and decrypts them again.
function main(): void
{
    foreach ([['Hello, World!', 3], ['Pack my box.', 13]] as [$text, $key]) {
        $secret = caesar($text, $key);
        echo $secret, "\n";
        echo caesar($secret, 26 - $key), "\n";
    }
}

main();
