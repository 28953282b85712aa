# Checks numbers by the Luhn formula.

# Adds the digits from the right, every second one doubled (less 9 above 9).
def luhn_sum(digits : Array(Int32)) : Int32
  total = 0
  digits.reverse.each_with_index do |digit, position|
    if position.odd?
      digit *= 2
      digit -= 9 if digit > 9
    end
    total += digit
  end
  total
end

# Says whether a number, spaces allowed, passes the check.
def valid?(number : String) : Bool
  digits = [] of Int32
  number.each_char do |sign|
    next if sign == ' '
    return false unless sign.ascii_number?
    digits << sign.to_i
  end
  digits.size >= 2 && luhn_sum(digits) % 10 == 0
end

# Checks five numbers.
["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"].each do |number|
  verdict = valid?(number) ? "valid" : "invalid"
  puts "#{number} #{verdict}"
end
