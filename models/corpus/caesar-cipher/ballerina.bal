// Encrypts and decrypts texts with the Caesar cipher.

import ballerina/io;

// Moves a letter key places on in the alphabet; other signs stay.
function shift(string:Char letter, int key) returns string:Char {
    int first;
    if letter >= "a" && letter <= "z" {
        first = string:toCodePointInt("a");
    } else if letter >= "A" && letter <= "Z" {
        first = string:toCodePointInt("A");
    } else {
        return letter;
    }
    int place = (letter.toCodePointInt() - first + key) % 26;
    return checkpanic string:fromCodePointInt(place + first);
}

// Shifts every letter of the text.
function caesar(string text, int key) returns string {
    string result = "";
    foreach string:Char letter in text {
        result += shift(letter, key);
    }
    return result;
}

// Encrypts two texts and decrypts them again.
public function main() {
    [string, int][] messages = [["Hello, World!", 3], ["Pack my box.", 13]];
    foreach [string, int] [text, key] in messages {
        string secret = caesar(text, key);
        io:println(secret);
        io:println(caesar(secret, 26 - key));
    }
}
