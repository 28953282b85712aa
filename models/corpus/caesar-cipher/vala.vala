// Encrypts and decrypts texts with the Caesar cipher.

// Moves a letter key places on in the alphabet; other signs stay.
char shift (char letter, int key) {
    char first;
    if (letter.islower ()) {
        first = 'a';
    } else if (letter.isupper ()) {
        first = 'A';
    } else {
        return letter;
    }
    return (char) ((letter - first + key) % 26 + first);
}

// Shifts every letter of the text.
string caesar (string text, int key) {
    var result = new StringBuilder ();
    for (int i = 0; i < text.length; i++) {
        result.append_c (shift (text[i], key));
    }
    return result.str;
}

// Encrypts two texts and decrypts them again.
void main () {
    string[] texts = { "Hello, World!", "Pack my box." };
    int[] keys = { 3, 13 };
    for (int i = 0; i < texts.length; i++) {
        string secret = caesar (texts[i], keys[i]);
        print ("%s\n", secret);
        print ("%s\n", caesar (secret, 26 - keys[i]));
    }
}
