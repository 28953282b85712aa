// Encrypts and decrypts texts with the Caesar cipher.
class CaesarCipher {
    // Moves a letter key places on in the alphabet; other signs stay.
    static char shift(char letter, int key) {
        char first;
        if (letter >= 'a' && letter <= 'z') {
            first = 'a';
        } else if (letter >= 'A' && letter <= 'Z') {
            first = 'A';
        } else {
            return letter;
        }
        return (char) ((letter - first + key) % 26 + first);
    }

    // Shifts every letter of the text.
    static String caesar(String text, int key) {
        StringBuilder result = new StringBuilder();
        for (char letter : text.toCharArray()) {
            result.append(shift(letter, key));
        }
        return result.toString();
    }

    // Encrypts two texts and decrypts them again.
    public static void main(String[] args) {
        String[] texts = {"Hello, World!", "Pack my box."};
        int[] keys = {3, 13};
        for (int i = 0; i < texts.length; i++) {
            String secret = caesar(texts[i], keys[i]);
            System.out.println(secret);
            System.out.println(caesar(secret, 26 - keys[i]));
        }
    }
}
