// Writes runs of equal letters as a count and the letter, and reads them back.

import ballerina/io;

// Turns each run of equal letters into its length and the letter.
function encode(string text) returns string {
    string code = "";
    int begin = 0;
    while begin < text.length() {
        int end = begin;
        while end < text.length() && text[end] == text[begin] {
            end += 1;
        }
        code += (end - begin).toString() + text[begin];
        begin = end;
    }
    return code;
}

// Repeats each letter as often as the count before it says.
function decode(string code) returns string {
    string text = "";
    int count = 0;
    foreach string:Char sign in code {
        int|error digit = int:fromString(sign);
        if digit is int {
            count = count * 10 + digit;
        } else {
            foreach int _ in 0 ..< count {
                text += sign;
            }
            count = 0;
        }
    }
    return text;
}

// Encodes and decodes three texts.
public function main() {
    foreach string text in ["aaaabbc", "wwwwwwwwwwwwb", "abc"] {
        string code = encode(text);
        io:println(string `${text} -> ${code} -> ${decode(code)}`);
    }
}
