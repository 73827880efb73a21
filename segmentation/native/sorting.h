/* Sorting integers by their digits, with where they came from. */
#ifndef TIDEGATE_SORTING_H
#define TIDEGATE_SORTING_H

#include "arrays.h"

typedef struct {
    uint64_t key;
    uint64_t item;
} Pair;

/* Sorts pairs by key, stably. spare: room for n more. Returns whichever of the two holds the result. No lock needed. */
Pair *sort_pairs(Pair *pairs, Pair *spare, Py_ssize_t n);

extern PyMethodDef sorting_methods[];

#endif
