# Measures how many edits turn one word into another.


# Levenshtein distance, with the last and the current row of the table only.
def edit_distance(a: str, b: str) -> int:
    last = list(range(len(b) + 1))
    for i in range(1, len(a) + 1):
        row = [i]
        for j in range(1, len(b) + 1):
            cost = 0 if a[i - 1] == b[j - 1] else 1
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost))
        last = row
    return last[len(b)]


# Shows an empty word as a pair of quotes.
def show(word: str) -> str:
    return word if word else '""'


# Compares four pairs of words.
def main() -> None:
    for a, b in [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]:
        print(f"{show(a)} {show(b)} {edit_distance(a, b)}")


if __name__ == "__main__":
    main()
