// Checks whether the brackets in a text are balanced.

const OPENERS = new Map([
  [")", "("],
  ["]", "["],
  ["}", "{"],
]);

// Keeps the open brackets on a stack; each closing one must match the last.
function isBalanced(text) {
  const stack = [];
  for (const sign of text) {
    if ("([{".includes(sign)) {
      stack.push(sign);
    } else if (OPENERS.has(sign) && stack.pop() !== OPENERS.get(sign)) {
      return false;
    }
  }
  return stack.length === 0;
}

// Checks five texts.
function main() {
  for (const text of ["([]{})", "([)]", "{a(b)c}", "((", ""]) {
    const verdict = isBalanced(text) ? "balanced" : "not balanced";
    console.log(`"${text}" ${verdict}`);
  }
}

main();
