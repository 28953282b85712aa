// Sorts lists of numbers by insertion.
object InsertionSort {
  // Moves each value left past all larger ones, in place.
  def insertionSort(values: Array[Int]): Unit = {
    for (i <- 1 until values.length) {
      val value = values(i)
      var j = i
      while (j > 0 && values(j - 1) > value) {
        values(j) = values(j - 1)
        j -= 1
      }
      values(j) = value
    }
  }

  // Sorts three lists and prints them.
  def main(args: Array[String]): Unit = {
    for (values <- List(Array(5, 2, 9, 1, 5, 6), Array(3), Array(10, -2, 7, 0, -5))) {
      insertionSort(values)
      println(values.mkString(" "))
    }
  }
}
