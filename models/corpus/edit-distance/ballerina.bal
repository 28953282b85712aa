// Measures how many edits turn one word into another.

import ballerina/io;

// Levenshtein distance, with the last and the current row of the table only.
function editDistance(string a, string b) returns int {
    int[] last = from int j in 0 ... b.length()
        select j;
    foreach int i in 1 ... a.length() {
        int[] row = [i];
        foreach int j in 1 ... b.length() {
            int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            row.push(int:min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost));
        }
        last = row;
    }
    return last[b.length()];
}

// Shows an empty word as a pair of quotes.
function show(string word) returns string {
    return word == "" ? "\"\"" : word;
}

// Compares four pairs of words.
public function main() {
    [string, string][] pairs = [["kitten", "sitting"], ["flaw", "lawn"], ["", "abc"], ["gumbo", "gambol"]];
    foreach [string, string] [a, b] in pairs {
        io:println(string `${show(a)} ${show(b)} ${editDistance(a, b)}`);
    }
}
