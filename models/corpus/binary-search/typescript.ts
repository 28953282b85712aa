// Finds numbers in a sorted list by halving the range that may hold them.

// Returns the index of target in the sorted values, or -1.
function binarySearch(values: number[], target: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low <= high) {
    const middle = Math.floor((low + high) / 2);
    if (values[middle] === target) {
      return middle;
    }
    if (values[middle] < target) {
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return -1;
}

// Searches for five numbers, some of them absent.
function main(): void {
  const values: number[] = [1, 3, 4, 6, 8, 9, 11, 15, 22];
  for (const target of [6, 1, 22, 13, 0]) {
    const index = binarySearch(values, target);
    if (index >= 0) {
      console.log(`${target} at ${index}`);
    } else {
      console.log(`${target} not found`);
    }
  }
}

main();
