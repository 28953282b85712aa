# Counts how often each letter occurs in a text.


# Returns 26 counts, from a to z; capitals count as small letters.
def count_letters(text: str) -> list[int]:
    counts = [0] * 26
    for sign in text.lower():
        if "a" <= sign <= "z":
            counts[ord(sign) - ord("a")] += 1
    return counts


# Prints the letters that occur at least twice.
def main() -> None:
    counts = count_letters("The quick brown fox jumps over the lazy dog again")
    for index, count in enumerate(counts):
        if count >= 2:
            letter = chr(ord("a") + index)
            print(f"{letter}={count}")


if __name__ == "__main__":
    main()
