// Measures how many edits turn one word into another.

import std.algorithm : min;
import std.array : array;
import std.range : iota;
import std.stdio;

// Levenshtein distance, with the last and the current row of the table only.
size_t editDistance(string a, string b)
{
    auto last = iota(b.length + 1).array;
    foreach (i; 1 .. a.length + 1)
    {
        auto row = [i];
        foreach (j; 1 .. b.length + 1)
        {
            const cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row ~= min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost);
        }
        last = row;
    }
    return last[b.length];
}

// Shows an empty word as a pair of quotes.
string show(string word)
{
    return word.length > 0 ? word : `""`;
}

// Compares four pairs of words.
void main()
{
    foreach (pair; [["kitten", "sitting"], ["flaw", "lawn"], ["", "abc"], ["gumbo", "gambol"]])
        writefln("%s %s %d", show(pair[0]), show(pair[1]), editDistance(pair[0], pair[1]));
}
