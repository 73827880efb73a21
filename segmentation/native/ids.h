/* A table of user ids: each has a number, 0, 1, 2 ... in order of first sight. */
#ifndef TIDEGATE_IDS_H
#define TIDEGATE_IDS_H

#include "arrays.h"

/* A place of the hash table. `number` is one more than the id's, 0: free. Of `hash` the place follows. */
typedef struct {
    uint32_t hash, number;
} IdPlace;

typedef struct {
    PyObject_HEAD
    uint64_t seed, hashed; /* bits of hashes that are used: all but in tests */
    unsigned char *bytes;  /* the ids, UTF-8, one after the other */
    uint64_t *end;         /* by number: where its bytes end, which begin where those of the number before end; GONE */
    size_t count, room;    /* numbers given; room in `end` */
    size_t size;           /* room in `bytes` */
    size_t gone;           /* of `bytes`, those of ids that were forgotten */
    IdPlace *places;
    size_t width, taken;   /* how many places, and those that are not free */
} Ids;

/* The bit of an end that says: forgotten. */
#define GONE ((uint64_t)1 << 63)

static inline uint64_t id_end(const Ids *ids, size_t number) { return ids->end[number] & ~GONE; }

static inline uint64_t id_begin(const Ids *ids, size_t number) { return number ? id_end(ids, number - 1) : 0; }

static inline bool id_gone(const Ids *ids, size_t number) { return (ids->end[number] & GONE) != 0; }

/* Methods that give ids away: see ids_out.c. */
PyObject *ids_names(PyObject *self, PyObject *numbers);
PyObject *ids_packed(PyObject *self, PyObject *numbers);
PyObject *ids_all(PyObject *self, PyObject *none);
PyObject *ids_saved(PyObject *self, PyObject *none);

/* Adds the type to the module. */
bool ids_ready(PyObject *module);

#endif
