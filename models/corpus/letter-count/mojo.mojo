# Counts how often each letter occurs in a text.


# Returns 26 counts, from a to z; capitals count as small letters.
def count_letters(text: String) -> List[Int]:
    var counts = List[Int](length=26, fill=0)
    for sign in text.lower().codepoints():
        if ord("a") <= Int(sign) <= ord("z"):
            counts[Int(sign) - ord("a")] += 1
    return counts^


# Prints the letters that occur at least twice.
def main():
    var counts = count_letters("The quick brown fox jumps over the lazy dog again")
    for index, count in enumerate(counts):
        if count >= 2:
            var letter = chr(ord("a") + index)
            print(letter, "=", count, sep="")
