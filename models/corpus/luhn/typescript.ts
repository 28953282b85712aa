// Checks numbers by the Luhn formula.

// Adds the digits from the right, every second one doubled (less 9 above 9).
function luhnSum(digits: number[]): number {
  let total = 0;
  for (let position = 0; position < digits.length; position++) {
    let digit = digits[digits.length - 1 - position];
    if (position % 2 === 1) {
      digit *= 2;
      if (digit > 9) {
        digit -= 9;
      }
    }
    total += digit;
  }
  return total;
}

// Says whether a number, spaces allowed, passes the check.
function isValid(number: string): boolean {
  const digits: number[] = [];
  for (const sign of number) {
    if (sign === " ") {
      continue;
    }
    if (sign < "0" || sign > "9") {
      return false;
    }
    digits.push(Number(sign));
  }
  return digits.length >= 2 && luhnSum(digits) % 10 === 0;
}

// Checks five numbers.
function main(): void {
  for (const number of ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]) {
    const verdict = isValid(number) ? "valid" : "invalid";
    console.log(`${number} ${verdict}`);
  }
}

main();
