<?php
// Checks whether the brackets in a text are balanced.

const OPENERS = [')' => '(', ']' => '[', '}' => '{'];

// Keeps the open brackets on a stack; each closing one must match the last.
function isBalanced(string $text): bool
{
    $stack = [];
    for ($i = 0; $i < strlen($text); $i++) {
        $sign = $text[$i];
        if (in_array($sign, OPENERS, true)) {
            $stack[] = $sign;
        } elseif (isset(OPENERS[$sign]) && array_pop($stack) !== OPENERS[$sign]) {
            return false;
        }
    }
    return count($stack) === 0;
}

// Checks five texts.
function main(): void
{
    foreach (['([]{})', '([)]', '{a(b)c}', '((', ''] as $text) {
        $verdict = isBalanced($text) ? 'balanced' : 'not balanced';
        echo "\"$text\" $verdict\n";
    }
}

main();
