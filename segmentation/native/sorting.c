/* Sorting integers and keeping track of where they came from: by digits, from the lowest (LSD radix sort).

Only digits in which keys differ cost a pass, so keys that span little sort in one or two. */
#include "sorting.h"

#define DIGIT_BITS 11
#define DIGITS (1 << DIGIT_BITS)
#define PASSES ((64 + DIGIT_BITS - 1) / DIGIT_BITS)
#define FEW 48

static void sort_few(Pair *pairs, Py_ssize_t n) {
    for (Py_ssize_t i = 1; i < n; i++) {
        Pair moving = pairs[i];
        Py_ssize_t at = i;
        for (; at > 0 && pairs[at - 1].key > moving.key; at--)
            pairs[at] = pairs[at - 1];
        pairs[at] = moving;
    }
}

Pair *sort_pairs(Pair *pairs, Pair *spare, Py_ssize_t n) {
    if (n <= FEW) {
        sort_few(pairs, n);
        return pairs;
    }
    uint64_t any = 0;
    for (Py_ssize_t i = 1; i < n; i++)
        any |= pairs[i].key ^ pairs[0].key;
    for (int pass = 0; pass < PASSES; pass++) {
        int shift = pass * DIGIT_BITS;
        if (((any >> shift) & (DIGITS - 1)) == 0)
            continue;
        Py_ssize_t start[DIGITS] = {0};
        for (Py_ssize_t i = 0; i < n; i++)
            start[(pairs[i].key >> shift) & (DIGITS - 1)]++;
        Py_ssize_t total = 0;
        for (int digit = 0; digit < DIGITS; digit++) {
            Py_ssize_t here = start[digit];
            start[digit] = total;
            total += here;
        }
        for (Py_ssize_t i = 0; i < n; i++)
            spare[start[(pairs[i].key >> shift) & (DIGITS - 1)]++] = pairs[i];
        Pair *sorted = spare;
        spare = pairs;
        pairs = sorted;
    }
    return pairs;
}

static PyObject *stable_order(PyObject *self, PyObject *keys) {
    (void)self;
    View view;
    if (!view_of(keys, I64, false, "keys", &view))
        return NULL;
    Py_ssize_t n = view.n;
    int64_t *order;
    PyObject *out = new_array(I64, n, (void **)&order);
    Pair *room = out == NULL ? NULL : PyMem_RawMalloc(2 * (size_t)(n ? n : 1) * sizeof(Pair));
    if (room == NULL) {
        view_release(&view);
        if (out != NULL)
            PyErr_NoMemory();
        Py_XDECREF(out);
        return NULL;
    }
    const int64_t *key = view.data;
    Py_BEGIN_ALLOW_THREADS
    int64_t low = n ? key[0] : 0;
    for (Py_ssize_t i = 1; i < n; i++)
        low = key[i] < low ? key[i] : low;
    for (Py_ssize_t i = 0; i < n; i++)
        room[i] = (Pair){(uint64_t)key[i] - (uint64_t)low, (uint64_t)i};
    const Pair *sorted = sort_pairs(room, room + n, n);
    for (Py_ssize_t i = 0; i < n; i++)
        order[i] = (int64_t)sorted[i].item;
    Py_END_ALLOW_THREADS
    PyMem_RawFree(room);
    view_release(&view);
    return out;
}

/* The first place from `at` on whose item is not below `wanted`, by steps that double and then halve. */
static Py_ssize_t first_from(const int64_t *of, Py_ssize_t at, Py_ssize_t n, int64_t wanted) {
    Py_ssize_t step = 1;
    while (at + step <= n && of[at + step - 1] < wanted)
        at += step, step *= 2;
    for (; step; step /= 2)
        if (at + step <= n && of[at + step - 1] < wanted)
            at += step;
    return at;
}

/* The places in `sorted` of all that are among `wanted`, both ascending, the latter distinct. */
static PyObject *places_of(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *sorted_, *wanted_, *out = NULL;
    View sorted = {0}, wanted = {0};
    List found = {0};
    if (!PyArg_ParseTuple(args, "OO", &sorted_, &wanted_))
        return NULL;
    if (view_of(sorted_, I64, false, "sorted", &sorted) && view_of(wanted_, I64, false, "wanted", &wanted)) {
        const int64_t *of = sorted.data, *want = wanted.data;
        Py_BEGIN_ALLOW_THREADS
        Py_ssize_t at = 0;
        for (Py_ssize_t i = 0; i < wanted.n && at < sorted.n; i++)
            for (at = first_from(of, at, sorted.n, want[i]); at < sorted.n && of[at] == want[i]; at++)
                list_push(&found, at);
        Py_END_ALLOW_THREADS
        int64_t *place;
        if (found.failed)
            PyErr_NoMemory();
        else if ((out = new_array(I64, (Py_ssize_t)found.n, (void **)&place)) != NULL && found.n)
            memcpy(place, found.items, found.n * sizeof *place);
    }
    list_free(&found);
    view_release(&sorted), view_release(&wanted);
    return out;
}

PyMethodDef sorting_methods[] = {
    {"places_of", places_of, METH_VARARGS, NULL},
    {"stable_order", stable_order, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
