# Checks numbers by the Luhn formula.

# Adds the digits from the right, every second one doubled (less 9 above 9).
function luhn_sum(digits)
    total = 0
    for (position, digit) in enumerate(reverse(digits))
        if position % 2 == 0
            digit *= 2
            if digit > 9
                digit -= 9
            end
        end
        total += digit
    end
    return total
end

# Says whether a number, spaces allowed, passes the check.
function is_valid(number)
    digits = Int[]
    for sign in number
        if sign == ' '
            continue
        end
        if !isdigit(sign)
            return false
        end
        push!(digits, sign - '0')
    end
    return length(digits) >= 2 && luhn_sum(digits) % 10 == 0
end

# Checks five numbers.
function main()
    for number in ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"]
        verdict = is_valid(number) ? "valid" : "invalid"
        println("$number $verdict")
    end
end

main()
