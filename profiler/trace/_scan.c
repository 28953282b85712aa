/* The fast scanner of Chrome traces: one pass over the bytes of an event list, straight into columns.
 *
 * It takes what profilers write in bulk, well-formed complete, instant and flow events, and leaves everything
 * else to reader.py by position: metadata, counters, begin/end pairs, and whatever is odd or damaged. So it needs no
 * error messages and mends nothing; what it takes, it takes exactly (times are decimal figures of microseconds turned
 * into integer nanoseconds, half to even). reader.py reads all of it in Python where this was not compiled.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 4 /* of this interface; reader.py refuses another */
#define DEEPEST 128 /* nesting of a value; deeper ones are odd */
#define LATEST_NS 2305843009213693951 /* a quarter of int64: sums of two instants stay inside */
#define LONGEST_SHAPE 4096 /* bytes of an operator's sizes, strides and types; longer ones are not kept */

enum { OK, NEEDS_MORE, ODD };          /* of a value or an event */
enum { WANTS_MORE, LIST_ENDED, STUCK }; /* of feed() */

/* ------------------------------------------------------------------------------------------------------------ columns
 * A table is a row of bytearrays that grow together; numpy looks at them without a copy. */

#define MOST_COLUMNS 11

typedef struct {
    int column_count;
    int width[MOST_COLUMNS];
    PyObject *array[MOST_COLUMNS];
    char *data[MOST_COLUMNS];
    Py_ssize_t row_count, room;
} Table;

static const int INSTANT_WIDTHS[] = {4, 4, 4, 8};                      /* name category thread start */
static const int HOST_WIDTHS[] = {4, 4, 4, 8, 8, 8, 8, 4};             /* ... duration correlation external shape */
static const int DEVICE_WIDTHS[] = {4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8}; /* ... device stream graph-node bytes */

static int table_init(Table *table, const int *widths, int count) {
    table->column_count = count;
    for (int i = 0; i < count; i++) {
        table->width[i] = widths[i];
        table->array[i] = PyByteArray_FromStringAndSize(NULL, 0);
        if (!table->array[i]) return -1;
    }
    return 0;
}

static int table_grow(Table *table) {
    Py_ssize_t room = table->room ? table->room + table->room / 2 : 4096;
    for (int i = 0; i < table->column_count; i++) {
        if (PyByteArray_Resize(table->array[i], room * table->width[i]) < 0) return -1;
        table->data[i] = PyByteArray_AS_STRING(table->array[i]);
    }
    table->room = room;
    return 0;
}

/* Return a list of the columns, which leave the table. */
static PyObject *table_take(Table *table) {
    PyObject *list = PyList_New(table->column_count);
    if (!list) return NULL;
    for (int i = 0; i < table->column_count; i++) {
        PyObject *array = table->array[i];
        if (PyByteArray_Resize(array, table->row_count * table->width[i]) < 0) {
            Py_DECREF(list);
            return NULL;
        }
        table->array[i] = NULL;
        PyList_SET_ITEM(list, i, array);
    }
    table->column_count = 0;
    table->row_count = table->room = 0;
    return list;
}

static void table_clear(Table *table) {
    for (int i = 0; i < table->column_count; i++) Py_CLEAR(table->array[i]);
    table->column_count = 0;
}

/* -------------------------------------------------------------------------------------------------------- vocabulary
 * Byte strings, each with the number of its first appearance (open addressing, linear probing). */

typedef struct {
    uint64_t hash;
    Py_ssize_t start, length; /* in text */
} Word;

typedef struct {
    char *text;
    Py_ssize_t text_used, text_room;
    Word *words;
    Py_ssize_t word_count, word_room;
    int32_t *slots; /* word number or -1 */
    Py_ssize_t slot_count; /* a power of two */
} Vocabulary;

static int vocabulary_rehash(Vocabulary *v, Py_ssize_t slot_count) {
    int32_t *slots = malloc(slot_count * sizeof *slots);
    if (!slots) return -1;
    memset(slots, 0xff, slot_count * sizeof *slots);
    for (Py_ssize_t i = 0; i < v->word_count; i++) {
        Py_ssize_t at = v->words[i].hash & (slot_count - 1);
        while (slots[at] >= 0) at = (at + 1) & (slot_count - 1);
        slots[at] = (int32_t)i;
    }
    free(v->slots);
    v->slots = slots;
    v->slot_count = slot_count;
    return 0;
}

static uint64_t hash_bytes(const char *bytes, Py_ssize_t length) {
    uint64_t hash = 0x9e3779b97f4a7c15ull ^ (uint64_t)length, part;
    if (length >= 32) { /* four lanes side by side: each waits for its own product alone */
        uint64_t lane[4] = {hash, hash, hash, hash};
        for (; length >= 32; bytes += 32, length -= 32)
            for (int i = 0; i < 4; i++) {
                memcpy(&part, bytes + 8 * i, 8);
                lane[i] = (lane[i] ^ part) * 0xff51afd7ed558ccdull;
                lane[i] ^= lane[i] >> 32;
            }
        for (int i = 1; i < 4; i++) lane[0] = (lane[0] ^ lane[i]) * 0xff51afd7ed558ccdull ^ lane[0] >> 32;
        hash = lane[0];
    }
    while (length >= 8) {
        memcpy(&part, bytes, 8);
        hash = (hash ^ part) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
        bytes += 8;
        length -= 8;
    }
    part = 0;
    memcpy(&part, bytes, length);
    hash = (hash ^ part) * 0xc4ceb9fe1a85ec53ull;
    return hash ^ (hash >> 29);
}

/* Say whether a string is UTF-8 without escaped surrogates; what is not is counted and mended in Python. */
static int is_sound(const char *bytes, Py_ssize_t length) {
    for (Py_ssize_t i = 0; i + 3 < length; i++) {
        if (bytes[i] != '\\') continue;
        if (bytes[i + 1] == 'u' && (bytes[i + 2] | 0x20) == 'd' && bytes[i + 3] >= '8') return 0;
        i++;
    }
    PyObject *decoded = PyUnicode_DecodeUTF8(bytes, length, NULL);
    if (!decoded) PyErr_Clear();
    Py_XDECREF(decoded);
    return decoded != NULL;
}

/* Return the number of a word, -1 if memory or numbers run out, -2 if it is not sound. */
static int32_t vocabulary_number(Vocabulary *v, const char *bytes, Py_ssize_t length) {
    uint64_t hash = hash_bytes(bytes, length);
    if (!v->slot_count && vocabulary_rehash(v, 1024) < 0) return -1;
    Py_ssize_t at = hash & (v->slot_count - 1);
    while (v->slots[at] >= 0) {
        Word *word = &v->words[v->slots[at]];
        if (word->hash == hash && word->length == length && !memcmp(v->text + word->start, bytes, length))
            return v->slots[at];
        at = (at + 1) & (v->slot_count - 1);
    }
    if (!is_sound(bytes, length)) return -2;
    if (v->word_count >= INT32_MAX - 1) return -1;
    if (v->word_count == v->word_room) {
        Py_ssize_t room = v->word_room ? 2 * v->word_room : 512;
        Word *words = realloc(v->words, room * sizeof *words);
        if (!words) return -1;
        v->words = words;
        v->word_room = room;
    }
    if (v->text_used + length > v->text_room) {
        Py_ssize_t room = 2 * (v->text_used + length) + 4096;
        char *text = realloc(v->text, room);
        if (!text) return -1;
        v->text = text;
        v->text_room = room;
    }
    memcpy(v->text + v->text_used, bytes, length);
    v->words[v->word_count] = (Word){hash, v->text_used, length};
    v->text_used += length;
    v->slots[at] = (int32_t)v->word_count++;
    if (2 * v->word_count > v->slot_count && vocabulary_rehash(v, 2 * v->slot_count) < 0) return -1;
    return (int32_t)(v->word_count - 1);
}

static PyObject *vocabulary_list(const Vocabulary *v) {
    PyObject *list = PyList_New(v->word_count);
    if (!list) return NULL;
    for (Py_ssize_t i = 0; i < v->word_count; i++) {
        PyObject *word = PyBytes_FromStringAndSize(v->text + v->words[i].start, v->words[i].length);
        if (!word) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, i, word);
    }
    return list;
}

static void vocabulary_clear(Vocabulary *v) {
    free(v->text);
    free(v->words);
    free(v->slots);
    memset(v, 0, sizeof *v);
}

/* --------------------------------------------------------------------------------------------------------------- JSON
 * Each function takes *at (before end), and on OK leaves it behind what it took. */

typedef struct {
    const char *start;
    Py_ssize_t length;
} Slice;

static inline void skip_space(const char **at, const char *end) {
    const char *p = *at;
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    *at = p;
}

/* Take a string; inside is what stands between the quotes. */
static inline int take_string(const char **at, const char *end, Slice *inside, int *escaped) {
    const uint64_t ones = 0x0101010101010101ull, tops = 0x8080808080808080ull;
    const char *p = *at + 1;
    inside->start = p;
    for (;;) {
        while (end - p >= 8) { /* eight bytes at a time, while none is a quote, a backslash or a control sign */
            uint64_t part, quote, slash, found;
            memcpy(&part, p, 8);
            quote = part ^ (ones * '"');
            slash = part ^ (ones * '\\');
            found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((part - ones * 0x20) & ~part)) & tops;
            if (found) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                p += __builtin_ctzll(found) / 8; /* of several the first is never a false one */
#endif
                break;
            }
            p += 8;
        }
        while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
        if (p >= end) return NEEDS_MORE;
        if (*p == '"') {
            inside->length = p - inside->start;
            *at = p + 1;
            return OK;
        }
        if ((unsigned char)*p < 0x20) return ODD;
        if (*p == '\\') {
            if (end - p < 2) return NEEDS_MORE;
            *escaped = 1;
            switch (p[1]) {
            case 'u':
                if (end - p < 6) return NEEDS_MORE;
                for (int i = 2; i < 6; i++)
                    if (!Py_ISXDIGIT(p[i])) return ODD;
                p += 6;
                break;
            case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
                p += 2;
                break;
            default:
                return ODD;
            }
        }
    }
}

static inline int is_digit(char sign) { return (unsigned char)(sign - '0') < 10; }

/* Take a number of JSON's grammar. */
static inline int take_number(const char **at, const char *end, Slice *all) {
    const char *p = *at;
    all->start = p;
    if (*p == '-') p++;
    if (p >= end) return NEEDS_MORE;
    if (!is_digit(*p)) return ODD;
    if (*p == '0') p++;
    else while (p < end && is_digit(*p)) p++;
    if (p < end && *p == '.') {
        p++;
        if (p < end && !is_digit(*p)) return ODD;
        while (p < end && is_digit(*p)) p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        if (p < end && !is_digit(*p)) return ODD;
        while (p < end && is_digit(*p)) p++;
    }
    if (p >= end) return NEEDS_MORE; /* it may go on */
    if (is_digit(*p)) return ODD;    /* a leading zero */
    all->length = p - all->start;
    *at = p;
    return OK;
}

static int take_word(const char **at, const char *end, const char *word) {
    Py_ssize_t length = (Py_ssize_t)strlen(word);
    if (end - *at < length) return memcmp(*at, word, end - *at) ? ODD : NEEDS_MORE;
    if (memcmp(*at, word, length)) return ODD;
    *at += length;
    return OK;
}

static int skip_value(const char **at, const char *end, int depth);

/* Skip an array or an object, whose opening sign stands at *at. */
static int skip_nested(const char **at, const char *end, int depth) {
    const char *p = *at;
    const int object = *p == '{';
    const char close = object ? '}' : ']';
    int result, escaped;
    Slice ignored;
    if (depth >= DEEPEST) return ODD;
    p++;
    skip_space(&p, end);
    if (p >= end) return NEEDS_MORE;
    if (*p == close) {
        *at = p + 1;
        return OK;
    }
    for (;;) {
        if (object) {
            if (*p != '"') return ODD;
            if ((result = take_string(&p, end, &ignored, &escaped))) return result;
            skip_space(&p, end);
            if (p >= end) return NEEDS_MORE;
            if (*p++ != ':') return ODD;
            skip_space(&p, end);
            if (p >= end) return NEEDS_MORE;
        }
        const char *behind = p; /* most values are sizes and, of what has none, empty lists and strings */
        if (end - p >= 2 && ((p[0] == '[' && p[1] == ']') || (p[0] == '"' && p[1] == '"'))) behind += 2;
        else if (*p != '0')
            while (behind < end && is_digit(*behind)) behind++;
        if (behind > p && behind < end && (*behind == ',' || *behind == close)) p = behind;
        else if ((result = skip_value(&p, end, depth + 1))) return result;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        if (*p == close) {
            *at = p + 1;
            return OK;
        }
        if (*p++ != ',') return ODD;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
    }
}

static int skip_value(const char **at, const char *end, int depth) {
    Slice ignored;
    int escaped;
    switch (**at) {
    case '"': return take_string(at, end, &ignored, &escaped);
    case '{': case '[': return skip_nested(at, end, depth);
    case 't': return take_word(at, end, "true");
    case 'f': return take_word(at, end, "false");
    case 'n': return take_word(at, end, "null");
    default: return take_number(at, end, &ignored);
    }
}

/* ------------------------------------------------------------------------------------------------------------- events */

/* What the arguments tell of an operator's inputs; their texts are kept together as one word, a JSON array. */
enum { SIZES, STRIDES, TYPES, SHAPE_PARTS };

/* Nanoseconds of a decimal figure of microseconds; -1 where it is none, negative, has an exponent or is too large. */
static int64_t nanoseconds(Slice figure) {
    const char *p = figure.start, *end = p + figure.length;
    int64_t value = 0;
    int digits = 0;
    for (; p < end && is_digit(*p); p++) {
        if (++digits > 16) return -1;
        value = value * 10 + (*p - '0');
    }
    if (!digits || value > LATEST_NS / 1000) return -1;
    value *= 1000;
    if (p == end) return value;
    if (*p++ != '.') return -1;
    int64_t thousandths = 0;
    int place = 0, above_half = 0, half = 0;
    for (; p < end; p++, place++) {
        if (!is_digit(*p)) return -1;
        if (place < 3) thousandths = thousandths * 10 + (*p - '0');
        else if (place == 3) half = *p - '0';
        else above_half |= *p != '0';
    }
    for (; place < 3; place++) thousandths *= 10;
    value += thousandths;
    if (half > 5 || (half == 5 && (above_half || (value & 1)))) value++;
    return value <= LATEST_NS ? value : -1;
}

enum { NO_DEVICE, NO_STREAM, NO_CORRELATION, NO_EXTERNAL, NO_EXTERNAL_OLD, NO_GRAPH, NO_BYTES, ARGUMENTS };

static int argument_of(Slice key) {
    const char *k = key.start;
    switch (key.length) {
    case 5: return memcmp(k, "bytes", 5) ? -1 : NO_BYTES;
    case 6: return !memcmp(k, "device", 6) ? NO_DEVICE : !memcmp(k, "stream", 6) ? NO_STREAM : -1;
    case 11:
        return !memcmp(k, "correlation", 11)   ? NO_CORRELATION
               : !memcmp(k, "External id", 11) ? NO_EXTERNAL
               : !memcmp(k, "external id", 11) ? NO_EXTERNAL_OLD
                                               : -1;
    case 13: return memcmp(k, "graph node id", 13) ? -1 : NO_GRAPH;
    default: return -1;
    }
}

typedef struct {
    char phase; /* 0: none, or none that this scanner knows */
    int has_name, has_category, odd;
    Slice name, category, process, thread, start, duration;
    int64_t argument[ARGUMENTS];
    Slice shape[SHAPE_PARTS];
} Event;

static int shape_part_of(Slice key) {
    const char *k = key.start;
    if (key.length == 10) return !memcmp(k, "Input Dims", 10) ? SIZES : !memcmp(k, "Input type", 10) ? TYPES : -1;
    return key.length == 13 && !memcmp(k, "Input Strides", 13) ? STRIDES : -1;
}

/* Take an argument whose value is an identifier; a value that is no plain integer makes the event odd or is absent. */
static int take_identifier(const char **at, const char *end, int64_t *value, int *odd) {
    Slice figure;
    int result;
    if (**at == '"') *odd = 1;
    if (**at != '-' && !is_digit(**at)) return skip_value(at, end, 1);
    if ((result = take_number(at, end, &figure))) return result;
    const char *p = figure.start, *stop = p + figure.length;
    const int negative = *p == '-';
    uint64_t size = 0;
    for (p += negative; p < stop; p++) {
        if (!is_digit(*p)) {
            *odd = 1;
            return OK;
        }
        if (size > (uint64_t)INT64_MAX / 10) break;
        size = size * 10 + (uint64_t)(*p - '0');
    }
    *value = p < stop || size > INT64_MAX ? -1 : negative ? -(int64_t)size : (int64_t)size;
    return OK;
}

static int take_arguments(const char **at, const char *end, Event *event) {
    const char *p = *at;
    int result;
    for (int i = 0; i < ARGUMENTS; i++) event->argument[i] = -1;
    memset(event->shape, 0, sizeof event->shape);
    if (*p != '{') {
        event->odd = 1;
        return skip_value(at, end, 0);
    }
    p++;
    skip_space(&p, end);
    if (p >= end) return NEEDS_MORE;
    if (*p == '}') {
        *at = p + 1;
        return OK;
    }
    for (;;) {
        Slice key;
        int escaped = 0;
        if (*p != '"') return ODD;
        if ((result = take_string(&p, end, &key, &escaped))) return result;
        event->odd |= escaped;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        if (*p++ != ':') return ODD;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        const int which = argument_of(key), part = which < 0 ? shape_part_of(key) : -1;
        const char *value = p;
        result = which < 0 ? skip_value(&p, end, 1) : take_identifier(&p, end, &event->argument[which], &event->odd);
        if (result) return result;
        if (part >= 0) event->shape[part] = (Slice){value, p - value};
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        if (*p == '}') {
            *at = p + 1;
            return OK;
        }
        if (*p++ != ',') return ODD;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
    }
}

/* Take a string, or make the event odd. */
static int take_text(const char **at, const char *end, Slice *text, int *has, int *odd) {
    int escaped = 0;
    *has = 0;
    if (**at != '"') {
        *odd = 1;
        return skip_value(at, end, 0);
    }
    *has = 1;
    return take_string(at, end, text, &escaped);
}

/* Take what names a process or thread: a string or an integer; anything else makes the event odd. */
static int take_label(const char **at, const char *end, Slice *label, int *odd) {
    const char *p = *at;
    const int result = skip_value(at, end, 0);
    *label = (Slice){p, *at - p};
    if (result == OK && *p != '"') {
        p += *p == '-';
        *odd |= *at - p > 18;
        while (p < *at) *odd |= !is_digit(*p++);
    }
    return result;
}

static int take_figure(const char **at, const char *end, Slice *figure, int *odd) {
    if (**at == '-' || is_digit(**at)) return take_number(at, end, figure);
    *odd = 1;
    return skip_value(at, end, 0);
}

static int take_event(const char **at, const char *end, Event *event) {
    const char *p = *at + 1;
    int result, has;
    Slice text;
    memset(event, 0, sizeof *event);
    for (int i = 0; i < ARGUMENTS; i++) event->argument[i] = -1;
    skip_space(&p, end);
    if (p >= end) return NEEDS_MORE;
    if (*p == '}') {
        *at = p + 1;
        return OK;
    }
    for (;;) {
        Slice key;
        int escaped = 0;
        if (*p != '"') return ODD;
        if ((result = take_string(&p, end, &key, &escaped))) return result;
        event->odd |= escaped;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        if (*p++ != ':') return ODD;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        const char *k = key.start;
        if (key.length == 2 && k[0] == 'p' && k[1] == 'h') {
            result = take_text(&p, end, &text, &has, &event->odd);
            event->phase = result == OK && has && text.length == 1 ? text.start[0] : 0;
        } else if (key.length == 2 && k[0] == 't' && k[1] == 's')
            result = take_figure(&p, end, &event->start, &event->odd);
        else if (key.length == 3 && !memcmp(k, "dur", 3))
            result = take_figure(&p, end, &event->duration, &event->odd);
        else if (key.length == 3 && !memcmp(k, "cat", 3))
            result = take_text(&p, end, &event->category, &event->has_category, &event->odd);
        else if (key.length == 3 && !memcmp(k, "pid", 3))
            result = take_label(&p, end, &event->process, &event->odd);
        else if (key.length == 3 && !memcmp(k, "tid", 3))
            result = take_label(&p, end, &event->thread, &event->odd);
        else if (key.length == 4 && !memcmp(k, "name", 4))
            result = take_text(&p, end, &event->name, &event->has_name, &event->odd);
        else if (key.length == 4 && !memcmp(k, "args", 4))
            result = take_arguments(&p, end, event);
        else
            result = skip_value(&p, end, 0);
        if (result) return result;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
        if (*p == '}') {
            *at = p + 1;
            return OK;
        }
        if (*p++ != ',') return ODD;
        skip_space(&p, end);
        if (p >= end) return NEEDS_MORE;
    }
}

/* ------------------------------------------------------------------------------------------------------------ scanner */

typedef struct {
    PyObject_HEAD
    Table host, device, instants;
    Vocabulary names, categories, threads, shapes;
    PyObject *device_categories; /* a set of bytes, lower case */
    signed char *on_device;      /* by category number; -2: not plain */
    Py_ssize_t on_device_room;
    Py_ssize_t flow_count, missing_comma_count, stray_comma_count;
    char last_thread[128]; /* most events come from the thread of the one before */
    Py_ssize_t last_thread_length;
    int32_t last_thread_number;
    int after_comma, started;
} Scanner;

static int scanner_init(Scanner *self, PyObject *args, PyObject *kwargs) {
    static char *words[] = {"device_categories", NULL};
    PyObject *categories;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", words, &categories)) return -1;
    if (self->device_categories) {
        PyErr_SetString(PyExc_RuntimeError, "a scanner starts once");
        return -1;
    }
    self->device_categories = PyFrozenSet_New(categories);
    if (!self->device_categories) return -1;
    self->last_thread_length = -1;
    if (table_init(&self->host, HOST_WIDTHS, 8) < 0 || table_init(&self->instants, INSTANT_WIDTHS, 4) < 0) return -1;
    return table_init(&self->device, DEVICE_WIDTHS, 11);
}

static void scanner_dealloc(Scanner *self) {
    table_clear(&self->host);
    table_clear(&self->device);
    table_clear(&self->instants);
    vocabulary_clear(&self->names);
    vocabulary_clear(&self->categories);
    vocabulary_clear(&self->threads);
    vocabulary_clear(&self->shapes);
    free(self->on_device);
    Py_XDECREF(self->device_categories);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Return the category's number and say whether its events run on a device; -1 with an exception set, -2 if the word is
 * unsound, or not written in plain ASCII: what such a word means, Python decides. */
static int32_t category_number(Scanner *self, Slice category, int *on_device) {
    Py_ssize_t known = self->categories.word_count;
    int32_t number = vocabulary_number(&self->categories, category.start, category.length);
    if (number == -1) PyErr_NoMemory();
    if (number < 0) return number;
    if (self->categories.word_count > known) {
        if (number >= self->on_device_room) {
            Py_ssize_t room = 2 * (number + 32);
            signed char *grown = realloc(self->on_device, room);
            if (!grown) {
                PyErr_NoMemory();
                return -1;
            }
            self->on_device = grown;
            self->on_device_room = room;
        }
        PyObject *lower = PyBytes_FromStringAndSize(category.start, category.length);
        if (!lower) return -1;
        char *sign = PyBytes_AS_STRING(lower);
        int plain = 1;
        for (Py_ssize_t i = 0; i < category.length; i++) {
            plain &= sign[i] != '\\' && !((unsigned char)sign[i] & 0x80);
            sign[i] = Py_TOLOWER(sign[i]);
        }
        int found = PySet_Contains(self->device_categories, lower);
        Py_DECREF(lower);
        if (found < 0) return -1;
        self->on_device[number] = plain ? (signed char)found : -2;
    }
    *on_device = self->on_device[number];
    return *on_device < 0 ? -2 : number;
}

static int32_t thread_number(Scanner *self, const Event *event) {
    char both[sizeof self->last_thread];
    Py_ssize_t length = event->process.length + 1 + event->thread.length;
    if (length > (Py_ssize_t)sizeof both) return -2;
    memcpy(both, event->process.start, event->process.length);
    both[event->process.length] = '\0';
    memcpy(both + event->process.length + 1, event->thread.start, event->thread.length);
    if (length == self->last_thread_length && !memcmp(both, self->last_thread, length)) return self->last_thread_number;
    int32_t number = vocabulary_number(&self->threads, both, length);
    if (number < 0) return number;
    memcpy(self->last_thread, both, length);
    self->last_thread_length = length;
    self->last_thread_number = number;
    return number;
}

/* Return the number of an operator's shape; -1 without one, -2 if it is not sound, -3 if memory runs out. */
static int32_t shape_number(Scanner *self, const Event *event) {
    char text[LONGEST_SHAPE + SHAPE_PARTS + 1];
    Py_ssize_t length = 0;
    for (int i = 0; i < SHAPE_PARTS; i++) {
        if (!event->shape[i].length) return -1;
        length += event->shape[i].length;
    }
    if (length > LONGEST_SHAPE) return -1;
    length = 0;
    for (int i = 0; i < SHAPE_PARTS; i++) {
        text[length++] = i ? ',' : '[';
        memcpy(text + length, event->shape[i].start, event->shape[i].length);
        length += event->shape[i].length;
    }
    text[length++] = ']';
    int32_t number = vocabulary_number(&self->shapes, text, length);
    return number == -1 ? -3 : number;
}

#define PUT(column, type, value) (((type *)table->data[column])[row] = (type)(value))

/* Take a complete or instant event into its table: 1 taken, 0 odd, -1 with an exception set. */
static int add_row(Scanner *self, const Event *event) {
    const int instant = event->phase != 'X';
    if (event->odd || !event->has_name || !event->start.length || !event->process.length || !event->thread.length
        || (!instant && !event->duration.length))
        return 0;
    int64_t start = nanoseconds(event->start), duration = instant ? 0 : nanoseconds(event->duration);
    if (start < 0 || duration < 0) return 0;
    int on_device = 0;
    int32_t category = -1, thread = thread_number(self, event);
    if (thread == -2) return 0;
    if (event->has_category) {
        category = category_number(self, event->category, &on_device);
        if (category < 0) return category == -2 ? 0 : -1;
    }
    int32_t name = vocabulary_number(&self->names, event->name.start, event->name.length);
    int32_t shape = instant || on_device ? -1 : shape_number(self, event);
    if (name == -2 || shape == -2) return 0;
    if (name < 0 || thread < 0 || shape == -3) {
        PyErr_NoMemory();
        return -1;
    }
    Table *table = instant ? &self->instants : on_device ? &self->device : &self->host;
    if (table->row_count == table->room && table_grow(table) < 0) return -1;
    Py_ssize_t row = table->row_count++;
    int64_t external = event->argument[NO_EXTERNAL];
    PUT(0, int32_t, name);
    PUT(1, int32_t, category);
    PUT(2, int32_t, thread);
    PUT(3, int64_t, start);
    if (instant) return 1;
    PUT(4, int64_t, duration);
    PUT(5, int64_t, event->argument[NO_CORRELATION]);
    PUT(6, int64_t, external != -1 ? external : event->argument[NO_EXTERNAL_OLD]);
    if (on_device) {
        PUT(7, int64_t, event->argument[NO_DEVICE]);
        PUT(8, int64_t, event->argument[NO_STREAM]);
        PUT(9, int64_t, event->argument[NO_GRAPH]);
        PUT(10, int64_t, event->argument[NO_BYTES]);
    } else PUT(7, int32_t, shape);
    return 1;
}

static PyObject *scanner_feed(Scanner *self, PyObject *args) {
    Py_buffer buffer;
    Py_ssize_t first, stop;
    if (!PyArg_ParseTuple(args, "y*nn", &buffer, &first, &stop)) return NULL;
    if (first < 0 || stop < first || stop > buffer.len || !self->host.column_count) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "positions outside the buffer, or a scanner that gave its columns away");
        return NULL;
    }
    const char *text = buffer.buf, *at = text + first, *end = text + stop;
    PyObject *others = PyList_New(0), *result = NULL;
    int status = WANTS_MORE;
    if (!others) goto done;
    for (;;) {
        skip_space(&at, end);
        if (at >= end) break;
        if (*at == ']') {
            self->stray_comma_count += self->after_comma;
            at++;
            status = LIST_ENDED;
            break;
        }
        if (*at == ',') {
            self->stray_comma_count += self->after_comma || !self->started;
            self->after_comma = self->started = 1;
            at++;
            continue;
        }
        if (*at != '{') {
            status = STUCK;
            break;
        }
        const char *begin = at;
        Event event;
        int taken = take_event(&at, end, &event);
        if (taken != OK) {
            at = begin;
            if (taken == ODD) status = STUCK;
            break;
        }
        self->missing_comma_count += self->started && !self->after_comma;
        self->started = 1;
        self->after_comma = 0;
        if (event.phase == 's' || event.phase == 't' || event.phase == 'f') {
            self->flow_count++;
            continue;
        }
        const int bulk = event.phase == 'X' || event.phase == 'i' || event.phase == 'I' || event.phase == 'R';
        int added = bulk ? add_row(self, &event) : 0;
        if (added < 0) goto done;
        if (!added) {
            PyObject *range = Py_BuildValue("(nn)", begin - text, at - text);
            if (!range || PyList_Append(others, range) < 0) {
                Py_XDECREF(range);
                goto done;
            }
            Py_DECREF(range);
        }
    }
    result = Py_BuildValue("(niO)", at - text, status, others);
done:
    Py_XDECREF(others);
    PyBuffer_Release(&buffer);
    return result;
}

/* Say that the caller took the element at which feed() was stuck. */
static PyObject *scanner_skipped(Scanner *self, PyObject *Py_UNUSED(ignored)) {
    self->missing_comma_count += self->started && !self->after_comma;
    self->started = 1;
    self->after_comma = 0;
    Py_RETURN_NONE;
}

/* Begin another list; what was taken stays. */
static PyObject *scanner_restart(Scanner *self, PyObject *Py_UNUSED(ignored)) {
    self->started = self->after_comma = 0;
    Py_RETURN_NONE;
}

static PyObject *scanner_take(Scanner *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *names = vocabulary_list(&self->names), *categories = vocabulary_list(&self->categories);
    PyObject *threads = vocabulary_list(&self->threads), *shapes = vocabulary_list(&self->shapes);
    vocabulary_clear(&self->names);
    vocabulary_clear(&self->shapes);
    PyObject *host = table_take(&self->host), *device = table_take(&self->device);
    PyObject *instants = table_take(&self->instants), *result = NULL;
    if (names && categories && threads && shapes && host && device && instants)
        result = Py_BuildValue("(OOOOOOO)", host, device, instants, names, categories, threads, shapes);
    Py_XDECREF(names);
    Py_XDECREF(categories);
    Py_XDECREF(threads);
    Py_XDECREF(shapes);
    Py_XDECREF(host);
    Py_XDECREF(device);
    Py_XDECREF(instants);
    return result;
}

static PyObject *scanner_counts(Scanner *self, void *Py_UNUSED(closure)) {
    const Py_ssize_t rows = self->host.row_count + self->device.row_count + self->instants.row_count;
    return Py_BuildValue("(nnnn)", rows, self->flow_count, self->missing_comma_count, self->stray_comma_count);
}

static PyMethodDef scanner_methods[] = {
    {"feed", (PyCFunction)scanner_feed, METH_VARARGS, NULL},
    {"skipped", (PyCFunction)scanner_skipped, METH_NOARGS, NULL},
    {"restart", (PyCFunction)scanner_restart, METH_NOARGS, NULL},
    {"take", (PyCFunction)scanner_take, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef scanner_members[] = {
    {"counts", (getter)scanner_counts, NULL, NULL, NULL},
    {NULL},
};

static PyTypeObject ScannerType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tokprof.profiler.trace._scan.Scanner",
    .tp_basicsize = sizeof(Scanner),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)scanner_init,
    .tp_dealloc = (destructor)scanner_dealloc,
    .tp_methods = scanner_methods,
    .tp_getset = scanner_members,
};

/* ------------------------------------------------------------------------------------------------------------ nesting */

/* parents(start_ns, end_ns, into): what links.parents says, for int64 buffers of one length. */
static PyObject *parents(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer starts, ends, into;
    if (!PyArg_ParseTuple(args, "y*y*w*", &starts, &ends, &into)) return NULL;
    PyObject *result = NULL;
    int64_t *stack = NULL;
    Py_ssize_t count = starts.len / 8, depth = 0, room = 0;
    if (starts.len % 8 || ends.len != starts.len || into.len != starts.len) {
        PyErr_SetString(PyExc_ValueError, "three buffers of as many int64 are wanted");
        goto done;
    }
    const int64_t *start = starts.buf, *end = ends.buf;
    int64_t *parent = into.buf;
    for (Py_ssize_t i = 0; i < count; i++) {
        while (depth && (end[stack[depth - 1]] <= start[i] || end[stack[depth - 1]] < end[i])) depth--;
        parent[i] = depth ? stack[depth - 1] : -1;
        if (depth == room) {
            room = room ? 2 * room : 256;
            int64_t *grown = realloc(stack, room * sizeof *stack);
            if (!grown) {
                PyErr_NoMemory();
                goto done;
            }
            stack = grown;
        }
        stack[depth++] = i;
    }
    result = Py_NewRef(Py_None);
done:
    free(stack);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&into);
    return result;
}

static PyMethodDef functions[] = {
    {"parents", parents, METH_VARARGS, NULL},
    {NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_scan", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__scan(void) {
    if (PyType_Ready(&ScannerType) < 0) return NULL;
    PyObject *made = PyModule_Create(&module);
    if (!made) return NULL;
    if (PyModule_AddIntConstant(made, "VERSION", VERSION) < 0
        || PyModule_AddObjectRef(made, "Scanner", (PyObject *)&ScannerType) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}
