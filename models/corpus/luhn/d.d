// Checks numbers by the Luhn formula.

import std.ascii : isDigit;
import std.range : enumerate, retro;
import std.stdio;

// Adds the digits from the right, every second one doubled (less 9 above 9).
int luhnSum(int[] digits)
{
    int total = 0;
    foreach (position, digit; digits.retro.enumerate)
    {
        int addend = digit;
        if (position % 2 == 1)
        {
            addend *= 2;
            if (addend > 9)
                addend -= 9;
        }
        total += addend;
    }
    return total;
}

// Says whether a number, spaces allowed, passes the check.
bool isValid(string number)
{
    int[] digits;
    foreach (sign; number)
    {
        if (sign == ' ')
            continue;
        if (!isDigit(sign))
            return false;
        digits ~= sign - '0';
    }
    return digits.length >= 2 && luhnSum(digits) % 10 == 0;
}

// Checks five numbers.
void main()
{
    foreach (number; ["4539 3195 0343 6467", "8273 1232 7352 0569", "0", "059", "05a9"])
    {
        auto verdict = isValid(number) ? "valid" : "invalid";
        writefln("%s %s", number, verdict);
    }
}
