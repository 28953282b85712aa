# Measures how many edits turn one word into another.


# Levenshtein distance, with the last and the current row of the table only.
def edit_distance(a: String, b: String) -> Int:
    var signs_a = a.as_bytes()
    var signs_b = b.as_bytes()
    var last = [j for j in range(len(signs_b) + 1)]
    for i in range(1, len(signs_a) + 1):
        var row: List[Int] = [i]
        for j in range(1, len(signs_b) + 1):
            var cost = 0 if signs_a[i - 1] == signs_b[j - 1] else 1
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost))
        last = row^
    return last[len(signs_b)]


# Shows an empty word as a pair of quotes.
def show(word: String) -> String:
    return word if word else '""'


# Compares four pairs of words.
def main():
    for a, b in [("kitten", "sitting"), ("flaw", "lawn"), ("", "abc"), ("gumbo", "gambol")]:
        print(show(a), show(b), edit_distance(a, b))
