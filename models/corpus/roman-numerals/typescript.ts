// Writes numbers as Roman numerals.

const NUMERALS: [number, string][] = [
  [1000, "M"],
  [900, "CM"],
  [500, "D"],
  [400, "CD"],
  [100, "C"],
  [90, "XC"],
  [50, "L"],
  [40, "XL"],
  [10, "X"],
  [9, "IX"],
  [5, "V"],
  [4, "IV"],
  [1, "I"],
];

// Takes the largest numeral that fits until nothing is left.
function toRoman(number: number): string {
  let roman = "";
  for (const [value, numeral] of NUMERALS) {
    while (number >= value) {
      roman += numeral;
      number -= value;
    }
  }
  return roman;
}

// Prints six numbers and their numerals.
function main(): void {
  for (const number of [4, 9, 14, 90, 1994, 2024]) {
    console.log(`${number} = ${toRoman(number)}`);
  }
}

main();
