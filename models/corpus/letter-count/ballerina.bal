// Counts how often each letter occurs in a text.

import ballerina/io;

final int first = string:toCodePointInt("a");

// Returns 26 counts, from a to z; capitals count as small letters.
function countLetters(string text) returns int[] {
    int[] counts = from int _ in 0 ..< 26
        select 0;
    foreach string:Char sign in text.toLowerAscii() {
        if sign >= "a" && sign <= "z" {
            counts[sign.toCodePointInt() - first] += 1;
        }
    }
    return counts;
}

// Prints the letters that occur at least twice.
public function main() returns error? {
    int[] counts = countLetters("The quick brown fox jumps over the lazy dog again");
    foreach [int, int] [index, count] in counts.enumerate() {
        if count >= 2 {
            string:Char letter = check string:fromCodePointInt(first + index);
            io:println(string `${letter}=${count}`);
        }
    }
}
