/* The type Records: open addressing, a slot of 16 bytes for each entry, the entry in a block of its own.

Hashes are Python's own (keyed, so that nobody can choose keys that meet), kept whole beside the entry: a slot with
another hash is passed without looking at its entry. Slots of large tables lie in large pages where the system has them:
a look-up at random then costs two reads of memory, which callers of `near_slot` and `near_entry` wait for together. */
#include "records.h"

#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define FIRST 64
#define LARGE_PAGE ((size_t)1 << 21)

PyTypeObject *records_type;

uint64_t hash_of(const void *key, Py_ssize_t size) {
    return (uint64_t)_Py_HashBytes(key, size);
}

static Slot *new_slots(size_t count) {
    size_t bytes = count * sizeof(Slot);
    Slot *slots = bytes < LARGE_PAGE ? malloc(bytes) : aligned_alloc(LARGE_PAGE, bytes);
    if (slots == NULL)
        return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= LARGE_PAGE)
        madvise(slots, bytes, MADV_HUGEPAGE);
#endif
    memset(slots, 0, bytes);
    return slots;
}

static Slot *slot_of(const Records *records, uint64_t hash, const void *key, Py_ssize_t size) {
    for (size_t at = hash & records->mask;; at = (at + 1) & records->mask) {
        Slot *slot = &records->slots[at];
        if (slot->entry == NULL)
            return NULL;
        if (slot->hash == hash && slot->entry != REMOVED && (Py_ssize_t)slot->entry->key_size == size &&
            memcmp(slot->entry->bytes, key, (size_t)size) == 0)
            return slot;
    }
}

const Entry *find_record(const Records *records, uint64_t hash, const void *key, Py_ssize_t size) {
    const Slot *slot = slot_of(records, hash, key, size);
    return slot == NULL ? NULL : slot->entry;
}

/* Into slots that have room, and do not have the key. */
static void put_new(Slot *slots, size_t mask, uint64_t hash, Entry *entry) {
    size_t at = hash & mask;
    while (slots[at].entry != NULL)
        at = (at + 1) & mask;
    slots[at] = (Slot){hash, entry};
}

/* Makes room for one more. */
static bool grow(Records *self) {
    size_t count = self->mask + 1;
    if ((self->used + 1) * 3 <= count * 2)
        return true;
    size_t wanted = self->taken * 2 >= count ? count * 2 : count;
    Slot *slots = new_slots(wanted);
    if (slots == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)self->slots[i].entry > 1)
            put_new(slots, wanted - 1, self->slots[i].hash, self->slots[i].entry);
    free(self->slots);
    self->slots = slots;
    self->mask = wanted - 1;
    self->used = self->taken;
    return true;
}

static PyObject *new_records(PyTypeObject *type, PyObject *args, PyObject *names) {
    if (PyTuple_GET_SIZE(args) || (names != NULL && PyDict_GET_SIZE(names)))
        return PyErr_Format(PyExc_TypeError, "Records() takes no arguments");
    Records *self = (Records *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->slots = new_slots(FIRST);
    self->mask = FIRST - 1;
    if (self->slots != NULL)
        return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void drop(PyObject *object) {
    Records *self = (Records *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (size_t i = 0; self->slots != NULL && i <= self->mask; i++)
        if ((uintptr_t)self->slots[i].entry > 1)
            free(self->slots[i].entry);
    free(self->slots);
    type->tp_free(object);
    Py_DECREF(type);
}

static bool is_key(PyObject *key) {
    if (!PyBytes_Check(key))
        PyErr_SetString(PyExc_TypeError, "Records: keys and records are bytes");
    return PyBytes_Check(key);
}

static Slot *slot_of_key(PyObject *self, PyObject *key) {
    const char *bytes = PyBytes_AS_STRING(key);
    Py_ssize_t size = PyBytes_GET_SIZE(key);
    return slot_of((Records *)self, hash_of(bytes, size), bytes, size);
}

static PyObject *record_of(const Entry *entry) {
    return PyBytes_FromStringAndSize((const char *)entry->bytes + entry->key_size, entry->size);
}

static void remove_slot(Records *self, Slot *slot) {
    free(slot->entry);
    slot->entry = REMOVED;
    self->taken--;
}

static PyObject *get(PyObject *self, PyObject *key) {
    if (!is_key(key))
        return NULL;
    const Slot *slot = slot_of_key(self, key);
    if (slot == NULL)
        Py_RETURN_NONE;
    return record_of(slot->entry);
}

static PyObject *keys(PyObject *object, PyObject *none) {
    (void)none;
    const Records *self = (Records *)object;
    PyObject *found = PyList_New(0);
    for (size_t i = 0; found != NULL && i <= self->mask; i++) {
        const Entry *entry = self->slots[i].entry;
        if ((uintptr_t)entry <= 1)
            continue;
        PyObject *key = PyBytes_FromStringAndSize((const char *)entry->bytes, entry->key_size);
        if (key == NULL || PyList_Append(found, key) < 0)
            Py_CLEAR(found);
        Py_XDECREF(key);
    }
    return found;
}

static PyObject *iterate(PyObject *self) {
    PyObject *all = keys(self, NULL), *iterator = all == NULL ? NULL : PyObject_GetIter(all);
    Py_XDECREF(all);
    return iterator;
}

static Py_ssize_t length(PyObject *self) {
    return (Py_ssize_t)((Records *)self)->taken;
}

static int contains(PyObject *self, PyObject *key) {
    return is_key(key) ? slot_of_key(self, key) != NULL : -1;
}

static PyObject *item(PyObject *self, PyObject *key) {
    if (!is_key(key))
        return NULL;
    const Slot *slot = slot_of_key(self, key);
    if (slot == NULL) {
        PyErr_SetObject(PyExc_KeyError, key);
        return NULL;
    }
    return record_of(slot->entry);
}

static int set_item(PyObject *object, PyObject *key, PyObject *record) {
    Records *self = (Records *)object;
    if (!is_key(key) || (record != NULL && !is_key(record)))
        return -1;
    Slot *slot = slot_of_key(object, key);
    if (record == NULL) {
        if (slot == NULL)
            PyErr_SetObject(PyExc_KeyError, key);
        else
            remove_slot(self, slot);
        return slot == NULL ? -1 : 0;
    }
    Py_ssize_t key_size = PyBytes_GET_SIZE(key), size = PyBytes_GET_SIZE(record);
    if (key_size > UINT32_MAX || size > UINT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "Records: more than 4 GB");
        return -1;
    }
    Entry *entry = malloc(sizeof(Entry) + (size_t)key_size + (size_t)size);
    if (entry == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *entry = (Entry){.key_size = (uint32_t)key_size, .size = (uint32_t)size};
    memcpy(entry->bytes, PyBytes_AS_STRING(key), (size_t)key_size);
    memcpy(entry->bytes + key_size, PyBytes_AS_STRING(record), (size_t)size);
    if (slot != NULL) {
        free(slot->entry);
        slot->entry = entry;
        return 0;
    }
    if (!grow(self)) {
        free(entry);
        return -1;
    }
    put_new(self->slots, self->mask, hash_of(entry->bytes, key_size), entry);
    self->taken++;
    self->used++;
    return 0;
}

static PyMethodDef methods[] = {
    {"get", get, METH_O, NULL},
    {"keys", keys, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, new_records},       {Py_tp_dealloc, drop},
    {Py_tp_methods, methods},       {Py_tp_iter, iterate},
    {Py_mp_length, length},         {Py_mp_subscript, item},
    {Py_mp_ass_subscript, set_item}, {Py_sq_contains, contains},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "segmentation.native._native.Records", .basicsize = sizeof(Records),
    .flags = Py_TPFLAGS_DEFAULT, .slots = slots,
};

bool records_ready(PyObject *module) {
    records_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return records_type != NULL && PyModule_AddObjectRef(module, "Records", (PyObject *)records_type) == 0;
}
