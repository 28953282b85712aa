// Writes runs of equal letters as a count and the letter, and reads them back.

// Turns each run of equal letters into its length and the letter.
string encode (string text) {
    var code = new StringBuilder ();
    int start = 0;
    while (start < text.length) {
        int end = start;
        while (end < text.length && text[end] == text[start]) {
            end++;
        }
        code.append_printf ("%d%c", end - start, text[start]);
        start = end;
    }
    return code.str;
}

// Repeats each letter as often as the count before it says.
string decode (string code) {
    var text = new StringBuilder ();
    int count = 0;
    for (int i = 0; i < code.length; i++) {
        char sign = code[i];
        if (sign.isdigit ()) {
            count = count * 10 + sign.digit_value ();
        } else {
            text.append (string.nfill (count, sign));
            count = 0;
        }
    }
    return text.str;
}

// Encodes and decodes three texts.
void main () {
    string[] texts = { "aaaabbc", "wwwwwwwwwwwwb", "abc" };
    foreach (unowned string text in texts) {
        string code = encode (text);
        print ("%s -> %s -> %s\n", text, code, decode (code));
    }
}
