// Counts how often each letter occurs in a text.

import std.ascii : isLower, toLower;
import std.stdio;

// Returns 26 counts, from a to z; capitals count as small letters.
int[26] countLetters(string text)
{
    int[26] counts;
    foreach (sign; text)
    {
        const letter = toLower(sign);
        if (isLower(letter))
            counts[letter - 'a']++;
    }
    return counts;
}

// Prints the letters that occur at least twice.
void main()
{
    auto counts = countLetters("The quick brown fox jumps over the lazy dog again");
    foreach (index, count; counts)
    {
        if (count >= 2)
            writefln("%c=%d", cast(char)('a' + index), count);
    }
}
