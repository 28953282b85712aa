# Writes numbers as Roman numerals.

NUMERALS = {
  {1000, "M"},
  {900, "CM"},
  {500, "D"},
  {400, "CD"},
  {100, "C"},
  {90, "XC"},
  {50, "L"},
  {40, "XL"},
  {10, "X"},
  {9, "IX"},
  {5, "V"},
  {4, "IV"},
  {1, "I"},
}

# Takes the largest numeral that fits until nothing is left.
def to_roman(number : Int32) : String
  roman = ""
  NUMERALS.each do |value, numeral|
    while number >= value
      roman += numeral
      number -= value
    end
  end
  roman
end

# Prints six numbers and their numerals.
[4, 9, 14, 90, 1994, 2024].each do |number|
  puts "#{number} = #{to_roman(number)}"
end
