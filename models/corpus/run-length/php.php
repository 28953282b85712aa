<?php
// Writes runs of equal letters as a count and the letter, and reads them back.

// Turns each run of equal letters into its length and the letter.
function encode(string $text): string
{
    $code = '';
    $start = 0;
    while ($start < strlen($text)) {
        $end = $start;
        while ($end < strlen($text) && $text[$end] === $text[$start]) {
            $end++;
        }
        $code .= ($end - $start) . $text[$start];
        $start = $end;
    }
    return $code;
}

// Repeats each letter as often as the count before it says.
function decode(string $code): string
{
    $text = '';
    $count = 0;
    foreach (str_split($code) as $sign) {
        if (ctype_digit($sign)) {
            $count = $count * 10 + (int) $sign;
        } else {
            $text .= str_repeat($sign, $count);
            $count = 0;
        }
    }
    return $text;
}

// Encodes and decodes three texts.
function main(): void
{
    foreach (['aaaabbc', 'wwwwwwwwwwwwb', 'abc'] as $text) {
        $code = encode($text);
        $decoded = decode($code);
        echo "$text -> $code -> $decoded\n";
    }
}

main();
