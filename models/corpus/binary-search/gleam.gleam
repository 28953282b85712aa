// Finds numbers in a sorted list by halving the range that may hold them.
import gleam/dict.{type Dict}
import gleam/int
import gleam/io
import gleam/list

// Returns the index of target in the sorted values, or -1.
pub fn binary_search(values: Dict(Int, Int), target: Int) -> Int {
  search_between(values, target, 0, dict.size(values) - 1)
}

// Searches the positions from low to high.
fn search_between(
  values: Dict(Int, Int),
  target: Int,
  low: Int,
  high: Int,
) -> Int {
  let middle = { low + high } / 2
  case dict.get(values, middle) {
    _ if low > high -> -1
    Ok(value) if value == target -> middle
    Ok(value) if value < target ->
      search_between(values, target, middle + 1, high)
    _ -> search_between(values, target, low, middle - 1)
  }
}

// Searches for five numbers, some of them absent.
pub fn main() -> Nil {
  let values =
    [1, 3, 4, 6, 8, 9, 11, 15, 22]
    |> list.index_map(fn(value, index) { #(index, value) })
    |> dict.from_list
  list.each([6, 1, 22, 13, 0], fn(target) {
    case binary_search(values, target) {
      -1 -> io.println(int.to_string(target) <> " not found")
      index ->
        io.println(int.to_string(target) <> " at " <> int.to_string(index))
    }
  })
}
