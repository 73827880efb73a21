/* A dictionary of texts: each distinct one has a code, 0, 1, 2 ... in order of first sight. */
#ifndef TIDEGATE_TEXTS_H
#define TIDEGATE_TEXTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "json.h"

typedef struct {
    uint64_t hash, head, tail; /* see texts.c */
    Text at;
    uint32_t length;
    bool ascii;
} TextEntry;

typedef struct TextBlock TextBlock;

typedef struct {
    TextEntry *entries; /* by code */
    uint32_t *slots;    /* by hash: a code + 1, 0 is free */
    size_t count, room, mask;
    TextBlock *blocks; /* texts that are kept here */
} Texts;

/* Room for some `expected` texts, or more. False, with MemoryError set, where there is no memory; in either case
   texts_free is due. */
bool texts_init(Texts *texts, size_t expected);

void texts_free(Texts *texts);

/* The code of a text of less than 2**31 bytes; -1 with MemoryError set. `copy`: they do not stay where they are. */
int32_t texts_code(Texts *texts, Text at, size_t length, bool ascii, bool copy);

/* Valid UTF-8 as a str. */
PyObject *text_object(Text at, size_t length, bool ascii);

/* A list of str. */
PyObject *texts_list(const Texts *texts);

#endif
