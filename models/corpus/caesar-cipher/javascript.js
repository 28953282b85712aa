// Encrypts and decrypts texts with the Caesar cipher.

// Moves a letter key places on in the alphabet; other signs stay.
function shift(letter, key) {
  let first;
  if (letter >= "a" && letter <= "z") {
    first = "a".charCodeAt(0);
  } else if (letter >= "A" && letter <= "Z") {
    first = "A".charCodeAt(0);
  } else {
    return letter;
  }
  return String.fromCharCode(((letter.charCodeAt(0) - first + key) % 26) + first);
}

// Shifts every letter of the text.
function caesar(text, key) {
  return [...text].map((letter) => shift(letter, key)).join("");
}

// Encrypts two texts and decrypts them again.
function main() {
  const cases = [
    ["Hello, World!", 3],
    ["Pack my box.", 13],
  ];
  for (const [text, key] of cases) {
    const secret = caesar(text, key);
    console.log(secret);
    console.log(caesar(secret, 26 - key));
  }
}

main();
