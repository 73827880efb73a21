/* A table from bytes to bytes, for millions of small records that are looked up by the thousand. */
#ifndef TIDEGATE_RECORDS_H
#define TIDEGATE_RECORDS_H

#include "arrays.h"

/* A key and its record, which follows it. */
typedef struct {
    uint32_t key_size, size;
    uint8_t bytes[];
} Entry;

typedef struct {
    uint64_t hash;
    Entry *entry; /* NULL: free; REMOVED: was taken */
} Slot;

typedef struct {
    PyObject_HEAD
    Slot *slots;
    size_t mask;  /* their number less one: a power of two */
    size_t taken; /* entries */
    size_t used;  /* entries, and slots that had one */
} Records;

#define REMOVED ((Entry *)(uintptr_t)1)

extern PyTypeObject *records_type;

uint64_t hash_of(const void *key, Py_ssize_t size);

/* The entry of the key, or NULL. */
const Entry *find_record(const Records *records, uint64_t hash, const void *key, Py_ssize_t size);

/* Brings what `find_record` reads first near the processor; then, once that is there, the entry itself. */
static inline void near_slot(const Records *records, uint64_t hash) {
    __builtin_prefetch(&records->slots[hash & records->mask]);
}

static inline void near_entry(const Records *records, uint64_t hash) {
    const Slot *slot = &records->slots[hash & records->mask];
    if (slot->hash != hash)
        slot = &records->slots[(hash + 1) & records->mask];
    if (slot->hash == hash && (uintptr_t)slot->entry > 1) {
        __builtin_prefetch(slot->entry);
        __builtin_prefetch((const char *)slot->entry + 64);
    }
}

/* Adds the type to the module. */
bool records_ready(PyObject *module);

#endif
