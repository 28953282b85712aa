// Checks whether the brackets in a text are balanced.

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char OPENERS[] = "([{";
static const char CLOSERS[] = ")]}";

// Keeps the open brackets on a stack; each closing one must match the last.
bool is_balanced(const char *text) {
    char stack[100];
    int depth = 0;
    for (; *text != '\0'; text++) {
        const char *closer = strchr(CLOSERS, *text);
        if (strchr(OPENERS, *text) != NULL) {
            stack[depth++] = *text;
        } else if (closer != NULL) {
            if (depth == 0 || stack[--depth] != OPENERS[closer - CLOSERS]) {
                return false;
            }
        }
    }
    return depth == 0;
}

// Checks five texts.
int main(void) {
    const char *texts[] = {"([]{})", "([)]", "{a(b)c}", "((", ""};
    for (int i = 0; i < 5; i++) {
        const char *verdict = is_balanced(texts[i]) ? "balanced" : "not balanced";
        printf("\"%s\" %s\n", texts[i], verdict);
    }
    return 0;
}
