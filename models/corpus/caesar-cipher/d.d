// Encrypts and decrypts texts with the Caesar cipher.

import std.ascii : isLower, isUpper;
import std.stdio;
import std.typecons : tuple;

// Moves a letter key places on in the alphabet; other signs stay.
char shift(char letter, int key)
{
    char first;
    if (isLower(letter))
        first = 'a';
    else if (isUpper(letter))
        first = 'A';
    else
        return letter;
    return cast(char)((letter - first + key) % 26 + first);
}

// Shifts every letter of the text.
string caesar(string text, int key)
{
    string result;
    foreach (letter; text)
        result ~= shift(letter, key);
    return result;
}

// Encrypts two texts and decrypts them again.
void main()
{
    foreach (pair; [tuple("Hello, World!", 3), tuple("Pack my box.", 13)])
    {
        auto secret = caesar(pair[0], pair[1]);
        writeln(secret);
        writeln(caesar(secret, 26 - pair[1]));
    }
}
