// Writes runs of equal letters as a count and the letter, and reads them back.

// Turns each run of equal letters into its length and the letter.
function encode(text: string): string {
  let code = "";
  let start = 0;
  while (start < text.length) {
    let end = start;
    while (end < text.length && text[end] === text[start]) {
      end++;
    }
    code += `${end - start}${text[start]}`;
    start = end;
  }
  return code;
}

// Repeats each letter as often as the count before it says.
function decode(code: string): string {
  let text = "";
  let count = 0;
  for (const sign of code) {
    if (sign >= "0" && sign <= "9") {
      count = count * 10 + Number(sign);
    } else {
      text += sign.repeat(count);
      count = 0;
    }
  }
  return text;
}

// Encodes and decodes three texts.
function main(): void {
  for (const text of ["aaaabbc", "wwwwwwwwwwwwb", "abc"]) {
    const code = encode(text);
    console.log(`${text} -> ${code} -> ${decode(code)}`);
  }
}

main();
