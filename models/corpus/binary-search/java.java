// Finds numbers in a sorted list by halving the range that may hold them.
class BinarySearch {
    // Returns the index of target in the sorted values, or -1.
    static int binarySearch(int[] values, int target) {
        int low = 0;
        int high = values.length - 1;
        while (low <= high) {
            int middle = low + (high - low) / 2;
            if (values[middle] == target) {
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
    public static void main(String[] args) {
        int[] values = {1, 3, 4, 6, 8, 9, 11, 15, 22};
        for (int target : new int[] {6, 1, 22, 13, 0}) {
            int index = binarySearch(values, target);
            if (index >= 0) {
                System.out.println(target + " at " + index);
            } else {
                System.out.println(target + " not found");
            }
        }
    }
}
