// Writes runs of equal letters as a count and the letter, and reads them back.

import std.array : replicate;
import std.ascii : isDigit;
import std.conv : to;
import std.stdio;

// Turns each run of equal letters into its length and the letter.
string encode(string text)
{
    string code;
    size_t start = 0;
    while (start < text.length)
    {
        size_t end = start;
        while (end < text.length && text[end] == text[start])
            end++;
        code ~= to!string(end - start) ~ text[start];
        start = end;
    }
    return code;
}

// Repeats each letter as often as the count before it says.
string decode(string code)
{
    string text;
    int count = 0;
    foreach (sign; code)
    {
        if (isDigit(sign))
        {
            count = count * 10 + (sign - '0');
        }
        else
        {
            text ~= replicate([sign], count);
            count = 0;
        }
    }
    return text;
}

// Encodes and decodes three texts.
void main()
{
    foreach (text; ["aaaabbc", "wwwwwwwwwwwwb", "abc"])
    {
        auto code = encode(text);
        writefln("%s -> %s -> %s", text, code, decode(code));
    }
}
