/* From rows of the log to rows of cells, by the index of codes: which terms a row touches, and what it adds to their
cells. A look-up by phase and code, no test of any term. */
#ifndef TIDEGATE_EXPANSION_H
#define TIDEGATE_EXPANSION_H

#include "arrays.h"

#define MOST_ARGUMENTS 64

enum { ARRIVAL, LATE }; /* the first phases, as in segmentation/evaluate/index.py */

/* One term in the list of a phase and code. */
typedef struct {
    int32_t cell, argument; /* cell -1: for others to decide; argument -1: none */
    int64_t weight;         /* with the sign */
    int64_t term, sign;
    int64_t start, end; /* ages, µs */
} TermEntry;

/* What does not change: made once per plan, owns its arrays. */
typedef struct {
    Py_ssize_t codes, phases, arguments;
    int64_t cells;  /* more than any entry's cell */
    int64_t *first; /* [phases * codes + 1] */
    TermEntry *entry;
} Expansion;

/* Rows of the log. The first `changes` of them are changes, each of a phase; the others arrivals. */
typedef struct {
    const Expansion *expansion;
    View phase, code, time, known, step;
    View data[MOST_ARGUMENTS], valid[MOST_ARGUMENTS];
    Py_ssize_t n, changes;
} LogRows;

/* Takes (expansion, phase, code, time, known, step, arguments); every phase and code is in range then. Or raises.
`rows` is all zero before; log_rows_release in any case. */
bool log_rows_of(PyObject *tuple, LogRows *rows);
void log_rows_release(LogRows *rows);

/* What is needed of a row, in one place, since rows are gone through in another order than they lie in. */
typedef struct {
    int64_t age;    /* of a late arrival, µs; else 0 */
    int64_t value;  /* of the first argument, if there is one */
    int32_t row;
    int32_t place : 31; /* phase and code */
    uint32_t valid : 1; /* the first argument is */
} Item;

static inline Item item_of(const LogRows *rows, Py_ssize_t row) {
    int64_t at = row < rows->changes ? ((const int64_t *)rows->phase.data)[row] : ARRIVAL;
    Item item = {.row = (int32_t)row};
    item.place = (int32_t)(at * rows->expansion->codes + ((const int32_t *)rows->code.data)[row]);
    if (row >= rows->changes) {
        int64_t time = ((const int64_t *)rows->time.data)[row], known = ((const int64_t *)rows->known.data)[row];
        item.age = known > time ? (int64_t)((uint64_t)known - (uint64_t)time) : 0;
    }
    if (rows->expansion->arguments > 0) {
        item.valid = ((const uint8_t *)rows->valid[0].data)[row] != 0;
        item.value = ((const int64_t *)rows->data[0].data)[row];
    }
    return item;
}

/* The entries that a row may touch, in up to two stretches: those of its place, and of a late arrival those that are
for late ones. In each, `within` says whether an entry counts at this age. */
static inline const TermEntry *stretch_of(const Expansion *e, const Item *item, int nth, const TermEntry **end) {
    int64_t place = nth == 0 ? item->place : item->place + LATE * e->codes; /* of a late one, which is an arrival */
    *end = e->entry + e->first[place + 1];
    return e->entry + e->first[place];
}

static inline int stretches(const Item *item) {
    return item->age > 0 ? 2 : 1;
}

static inline bool within(const Item *item, const TermEntry *entry, int nth) {
    return item->age == 0 || (item->age < entry->end && (nth == 0 || item->age >= entry->start));
}

/* What the row adds there: false where its argument is NULL; *fits turns false where the product does not fit. */
static inline bool weighed(const LogRows *rows, const Item *item, const TermEntry *entry, int64_t *delta, bool *fits) {
    *delta = entry->weight;
    if (entry->argument < 0)
        return true;
    bool valid = item->valid;
    int64_t value = item->value;
    if (entry->argument > 0) {
        valid = ((const uint8_t *)rows->valid[entry->argument].data)[item->row];
        value = ((const int64_t *)rows->data[entry->argument].data)[item->row];
    }
    if (valid)
        *fits &= !__builtin_mul_overflow(entry->weight, value, delta);
    return valid;
}

extern PyMethodDef expansion_methods[];

#endif
