// Finds numbers in a sorted list by halving the range that may hold them.
object BinarySearch {
  // Returns the index of target in the sorted values, or None.
  def binarySearch(values: Array[Int], target: Int): Option[Int] = {
    var low = 0
    var high = values.length - 1
    while (low <= high) {
      val middle = (low + high) / 2
      if (values(middle) == target) {
        return Some(middle)
      }
      if (values(middle) < target) {
        low = middle + 1
      } else {
        high = middle - 1
      }
    }
    None
  }

  // Searches for five numbers, some of them absent.
  def main(args: Array[String]): Unit = {
    val values = Array(1, 3, 4, 6, 8, 9, 11, 15, 22)
    for (target <- List(6, 1, 22, 13, 0)) {
      binarySearch(values, target) match {
        case Some(index) => println(s"$target at $index")
        case None => println(s"$target not found")
      }
    }
  }
}
