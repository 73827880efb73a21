/* The type Ids: open addressing over places of eight bytes, which hold 32 bits of the hash and the number; the ids
themselves stand one after the other in memory of their own.

Looking an id up reads three places in memory at random: the table's, where the id begins, and the id. With millions of
users each is a miss of the processor's caches, and then so many ids are on their way at a time that the misses overlap:
each stage asks for the memory that the next one reads. Places are by the highest bits of the hash, so that a larger
table is filled from front to back. The interpreter's lock is held throughout: the texts are its objects. */
#include "ids.h"

#include "mixing.h"
#include "records.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#define FIRST 64
/* Ids that are looked up together. */
#define TOGETHER 64
/* So many objects ahead their memory is asked for. */
#define AHEAD 16
#define LARGE_PAGE ((size_t)1 << 21)
#define NONE UINT32_MAX

/* An id that is looked for: its bytes, and a number that may be its own. */
typedef struct {
    const unsigned char *at;
    size_t length;
    uint32_t hash, number;
} Asked;

static inline size_t home(const Ids *ids, uint32_t hash) {
    return (size_t)(((uint64_t)hash * ids->width) >> 32);
}

static inline size_t next(const Ids *ids, size_t place) { return ++place == ids->width ? 0 : place; }

static bool asked(const Ids *ids, PyObject *text, Asked *out) {
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "ids: %.100s among them", Py_TYPE(text)->tp_name);
        return false;
    }
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        out->at = PyUnicode_1BYTE_DATA(text);
        out->length = (size_t)PyUnicode_GET_LENGTH(text);
    } else { /* encoded, Python keeps it with the text, which nobody here keeps */
        Py_ssize_t length;
        if ((out->at = (const unsigned char *)PyUnicode_AsUTF8AndSize(text, &length)) == NULL)
            return false;
        out->length = (size_t)length;
    }
    uint64_t head, tail;
    ends_of(out->at, out->length, &head, &tail);
    out->hash = (uint32_t)((mixed_text(ids->seed, out->at, out->length, head, tail) & ids->hashed) >> 32);
    return true;
}

static inline bool same(const Ids *ids, const Asked *one, size_t number) {
    uint64_t begin = id_begin(ids, number);
    return id_end(ids, number) - begin == one->length && memcmp(ids->bytes + begin, one->at, one->length) == 0;
}

/* The place of an id, or the free one where it would be; `free` says which. */
static size_t place_of(const Ids *ids, const Asked *one, bool *free) {
    size_t place = home(ids, one->hash);
    for (; ids->places[place].number != 0; place = next(ids, place))
        if (ids->places[place].hash == one->hash && same(ids, one, ids->places[place].number - 1)) {
            *free = false;
            return place;
        }
    *free = true;
    return place;
}

static bool allot(Ids *ids, size_t width) {
    size_t bytes = width * sizeof *ids->places;
    bool large = bytes >= LARGE_PAGE;
    if (large)
        bytes = (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    ids->places = large ? aligned_alloc(LARGE_PAGE, bytes) : malloc(bytes);
    if (ids->places == NULL)
        return false;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (large)
        madvise(ids->places, bytes, MADV_HUGEPAGE);
#endif
    memset(ids->places, 0, bytes);
    ids->width = width;
    return true;
}

/* Room for so many more ids among the places, of which at least a quarter stays free. */
static bool widen(Ids *ids, size_t more) {
    size_t needed = (ids->taken + more) / 3 * 4 + 4;
    if (needed <= ids->width)
        return true;
    Ids old = *ids;
    if (!allot(ids, needed > old.width + old.width / 2 ? needed : old.width + old.width / 2)) {
        ids->places = old.places;
        PyErr_NoMemory();
        return false;
    }
    for (size_t i = 0; i < old.width; i++)
        if (old.places[i].number != 0) {
            size_t place = home(ids, old.places[i].hash);
            while (ids->places[place].number != 0)
                place = next(ids, place);
            ids->places[place] = old.places[i];
        }
    free(old.places);
    return true;
}

static bool grown(void **block, size_t *room, size_t needed, size_t item) {
    if (needed <= *room)
        return true;
    size_t wanted = *room + *room / 4 + FIRST;
    if (wanted < needed)
        wanted = needed;
    void *more = realloc(*block, wanted * item);
    if (more == NULL) {
        PyErr_NoMemory();
        return false;
    }
    *block = more, *room = wanted;
    return true;
}

/* The next number, for an id that has none. NONE with an exception set. */
static uint32_t add(Ids *ids, const Asked *one) {
    uint64_t begin = ids->count ? id_end(ids, ids->count - 1) : 0;
    if (ids->count >= INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "ids: more than fit int32");
        return NONE;
    }
    if (!widen(ids, 1) || !grown((void **)&ids->end, &ids->room, ids->count + 1, sizeof *ids->end) ||
        !grown((void **)&ids->bytes, &ids->size, begin + one->length + 1, 1))
        return NONE;
    memcpy(ids->bytes + begin, one->at, one->length);
    ids->end[ids->count] = begin + one->length;
    size_t place = home(ids, one->hash);
    while (ids->places[place].number != 0)
        place = next(ids, place);
    ids->places[place] = (IdPlace){one->hash, (uint32_t)ids->count + 1};
    ids->taken++;
    return (uint32_t)ids->count++;
}

static uint32_t number_of(Ids *ids, const Asked *one) {
    bool free;
    size_t place = place_of(ids, one, &free);
    return free ? add(ids, one) : ids->places[place].number - 1;
}

/* The numbers of n texts, at most TOGETHER; new ones get the next numbers. */
static bool numbers_of(Ids *ids, PyObject **text, Py_ssize_t n, Py_ssize_t beyond, int64_t *out) {
    Asked some[TOGETHER];
    for (Py_ssize_t i = 0; i < n; i++) {
        if (i + AHEAD < beyond)
            __builtin_prefetch(text[i + AHEAD]);
        if (!asked(ids, text[i], &some[i]))
            return false;
        __builtin_prefetch(&ids->places[home(ids, some[i].hash)]);
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        size_t place = home(ids, some[i].hash);
        while (ids->places[place].number != 0 && ids->places[place].hash != some[i].hash)
            place = next(ids, place);
        some[i].number = ids->places[place].number - 1; /* NONE where it is free */
        if (some[i].number != NONE)
            __builtin_prefetch(&ids->end[some[i].number]);
    }
    for (Py_ssize_t i = 0; i < n; i++)
        if (some[i].number != NONE) {
            const unsigned char *begin = ids->bytes + id_begin(ids, some[i].number);
            __builtin_prefetch(begin);
            __builtin_prefetch(begin + some[i].length);
        }
    for (Py_ssize_t i = 0; i < n; i++) {
        uint32_t number = some[i].number;
        if (number == NONE || !same(ids, &some[i], number))
            if ((number = number_of(ids, &some[i])) == NONE)
                return false;
        out[i] = number;
    }
    return true;
}

/* The texts at these places of the list. */
static bool picked(PyObject *list, const int64_t *place, Py_ssize_t n, PyObject **out) {
    for (Py_ssize_t i = 0; i < n; i++) {
        if (place[i] < 0 || place[i] >= PyList_GET_SIZE(list)) {
            PyErr_Format(PyExc_IndexError, "ids: a place beyond the list");
            return false;
        }
        out[i] = PyList_GET_ITEM(list, (Py_ssize_t)place[i]);
    }
    return true;
}

static PyObject *numbers(PyObject *self, PyObject *args) {
    PyObject *texts, *places = Py_None, *array = NULL, **text;
    View view = {0};
    if (!PyArg_ParseTuple(args, "O|O", &texts, &places))
        return NULL;
    if (!PyList_CheckExact(texts))
        return PyErr_Format(PyExc_TypeError, "ids: not a list");
    if (places != Py_None && !view_of(places, I64, false, "places", &view))
        return NULL;
    Py_ssize_t n = places == Py_None ? PyList_GET_SIZE(texts) : view.n;
    PyObject **some = malloc(((size_t)view.n + 1) * sizeof *some);
    int64_t *out;
    if (some == NULL)
        PyErr_NoMemory();
    else if (places == Py_None || picked(texts, view.data, n, some))
        array = new_array(I64, n, (void **)&out);
    text = places == Py_None ? ((PyListObject *)texts)->ob_item : some;
    for (Py_ssize_t i = 0; array != NULL && i < n; i += TOGETHER)
        if (!numbers_of((Ids *)self, text + i, n - i < TOGETHER ? n - i : TOGETHER, n - i, out + i))
            Py_CLEAR(array);
    free(some);
    view_release(&view);
    return array;
}

static PyObject *find(PyObject *self, PyObject *text) {
    const Ids *ids = (Ids *)self;
    Asked one;
    if (!asked(ids, text, &one))
        return NULL;
    bool free;
    size_t place = place_of(ids, &one, &free);
    return PyLong_FromLong(free ? -1 : (long)ids->places[place].number - 1);
}

/* Frees a place; those after it that are no longer reached from their homes move back. */
static void vacate(Ids *ids, size_t place) {
    for (size_t at = next(ids, place); ids->places[at].number != 0; at = next(ids, at)) {
        size_t from = home(ids, ids->places[at].hash);
        bool between = place <= at ? place < from && from <= at : place < from || from <= at;
        if (!between)
            ids->places[place] = ids->places[at], place = at;
    }
    ids->places[place] = (IdPlace){0, 0};
    ids->taken--;
}

/* The bytes of those that are known move together. */
static void gather(Ids *ids) {
    uint64_t to = 0, begin = 0;
    for (size_t number = 0; number < ids->count; number++) {
        uint64_t end = id_end(ids, number), mark = ids->end[number] & GONE;
        if (!mark) {
            memmove(ids->bytes + to, ids->bytes + begin, end - begin);
            to += end - begin;
        }
        ids->end[number] = to | mark;
        begin = end;
    }
    memset(ids->bytes + to, 0, begin - to);
    ids->gone = 0;
}

static PyObject *forget(PyObject *self, PyObject *which) {
    Ids *ids = (Ids *)self;
    View view;
    if (!view_of(which, I64, false, "numbers", &view))
        return NULL;
    const int64_t *number = view.data;
    for (Py_ssize_t i = 0; i < view.n; i++)
        if (number[i] < 0 || (size_t)number[i] >= ids->count) {
            view_release(&view);
            return PyErr_Format(PyExc_IndexError, "numbers: one that was not given");
        }
    for (Py_ssize_t i = 0; i < view.n; i++) {
        size_t each = (size_t)number[i];
        if (id_gone(ids, each))
            continue;
        uint64_t begin = id_begin(ids, each), length = id_end(ids, each) - begin;
        Asked one = {.at = ids->bytes + begin, .length = length};
        uint64_t head, tail;
        ends_of(one.at, length, &head, &tail);
        one.hash = (uint32_t)((mixed_text(ids->seed, one.at, length, head, tail) & ids->hashed) >> 32);
        bool free;
        vacate(ids, place_of(ids, &one, &free));
        memset(ids->bytes + begin, 0, length); /* who was erased is not to be read from memory */
        ids->end[each] |= GONE;
        ids->gone += length;
    }
    view_release(&view);
    if (ids->count && ids->gone > 4096 && ids->gone > id_end(ids, ids->count - 1) / 4)
        gather(ids);
    Py_RETURN_NONE;
}

static PyObject *restore(PyObject *self, PyObject *texts) {
    Ids *ids = (Ids *)self;
    if (!PyList_CheckExact(texts))
        return PyErr_Format(PyExc_TypeError, "ids: not a list");
    size_t n = (size_t)PyList_GET_SIZE(texts);
    memset(ids->places, 0, ids->width * sizeof *ids->places);
    ids->count = ids->taken = ids->gone = 0;
    if (!widen(ids, n) || !grown((void **)&ids->end, &ids->room, n, sizeof *ids->end))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        PyObject *text = PyList_GET_ITEM(texts, (Py_ssize_t)i);
        Asked one;
        if (text == Py_None) {
            uint64_t end = i ? id_end(ids, i - 1) : 0;
            ids->end[ids->count++] = end | GONE;
            continue;
        }
        if (!asked(ids, text, &one))
            return NULL;
        if (number_of(ids, &one) != i)
            return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "ids: one of them twice");
    }
    Py_RETURN_NONE;
}

static PyObject *farthest(PyObject *self, PyObject *none) {
    (void)none;
    const Ids *ids = (Ids *)self;
    size_t most = 0;
    for (size_t at = 0; at < ids->width; at++)
        if (ids->places[at].number != 0) {
            size_t from = home(ids, ids->places[at].hash), way = at >= from ? at - from : at + ids->width - from;
            most = way > most ? way : most;
        }
    return PyLong_FromSize_t(most);
}

static PyObject *new_ids(PyTypeObject *type, PyObject *args, PyObject *names) {
    int bits = 32;
    if ((names != NULL && PyDict_GET_SIZE(names)) || !PyArg_ParseTuple(args, "|i:Ids", &bits))
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "Ids() takes no names");
    if (bits < 0 || bits > 32)
        return PyErr_Format(PyExc_ValueError, "bits: %d", bits);
    Ids *self = (Ids *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->seed = hash_of(&self, sizeof self); /* Python's, which has a secret */
    self->hashed = bits ? ~(uint64_t)0 << (64 - bits) : 0;
    if (allot(self, FIRST))
        return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void drop(PyObject *object) {
    Ids *self = (Ids *)object;
    PyTypeObject *type = Py_TYPE(object);
    free(self->bytes), free(self->end), free(self->places);
    type->tp_free(object);
    Py_DECREF(type);
}

static Py_ssize_t length(PyObject *self) { return (Py_ssize_t)((Ids *)self)->count; }

static PyMethodDef methods[] = {
    {"find", find, METH_O, NULL},           {"numbers", numbers, METH_VARARGS, NULL},
    {"forget", forget, METH_O, NULL},       {"restore", restore, METH_O, NULL},
    {"farthest", farthest, METH_NOARGS, NULL}, {"names", ids_names, METH_O, NULL},
    {"packed", ids_packed, METH_O, NULL},   {"all", ids_all, METH_NOARGS, NULL},
    {"saved", ids_saved, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, new_ids}, {Py_tp_dealloc, drop}, {Py_tp_methods, methods}, {Py_mp_length, length}, {0, NULL},
};

static PyType_Spec spec = {
    .name = "segmentation.native._native.Ids", .basicsize = sizeof(Ids), .flags = Py_TPFLAGS_DEFAULT, .slots = slots,
};

bool ids_ready(PyObject *module) {
    PyObject *type = PyType_FromSpec(&spec);
    bool added = type != NULL && PyModule_AddObjectRef(module, "Ids", type) == 0;
    Py_XDECREF(type);
    return added;
}
