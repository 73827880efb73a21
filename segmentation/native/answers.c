/* BatchCheckMembership from the bytes of the request to those of the response; `batch_by_python` in grpc_server/fast.py says the same.

Two passes over the request: the first finds the pairs and how much room the answer needs at most, the second looks
the users up and writes. Whatever is not the usual spelling of a request, or not known, is None: others answer it. */
#include "answers.h"

#define STAMP 12
#define SHARDS_MAX 1024
#define PAIR_MAX 127
#define FIELD 0x0a
/* Of one result beside the pair: tag and length, member, known, as_of, since. */
#define SAID_MAX (3 + 4 + 2 * (2 + STAMP))
#define REMEMBERED 256

/* A segment as a pair spells it, where in the request it was met, and its number. */
typedef struct {
    const uint8_t *at;
    Py_ssize_t size;
    Py_ssize_t number;
} Spelling;

typedef struct {
    PyObject *spelled, *definitions;
    View places;
    Py_ssize_t bitmap;
    const char *as_of[SHARDS_MAX]; /* NULL: cannot be told; an empty text: before any event */
    Spelling met[REMEMBERED];
    bool *asked;
} Known;

/* The number of pairs; -1: not the usual spelling. */
static Py_ssize_t pairs_of(const uint8_t *data, Py_ssize_t end) {
    Py_ssize_t count = 0, at = 0;
    while (at < end) {
        if (end - at < 4 || data[at] != FIELD || data[at + 2] != FIELD)
            return -1;
        Py_ssize_t length = data[at + 1];
        if (length > PAIR_MAX || length > end - at - 2 || data[at + 3] > length - 2)
            return -1;
        at += 2 + length;
        count++;
    }
    return count;
}

/* The segment's number; -1: not known, -2: an exception is set. */
static Py_ssize_t segment_of(Known *known, const uint8_t *at, Py_ssize_t size) {
    uint32_t hash = (uint32_t)size;
    for (Py_ssize_t i = size < 8 ? 0 : size - 8; i < size; i++)
        hash = hash * 31 + at[i];
    Spelling *met = &known->met[(hash ^ hash >> 8) % REMEMBERED];
    if (met->at != NULL && met->size == size && memcmp(met->at, at, (size_t)size) == 0)
        return met->number;
    PyObject *key = PyBytes_FromStringAndSize((const char *)at, size);
    if (key == NULL)
        return -2;
    PyObject *found = PyDict_GetItemWithError(known->spelled, key);
    Py_DECREF(key);
    if (found == NULL)
        return PyErr_Occurred() ? -2 : -1;
    Py_ssize_t number = PyLong_AsSsize_t(found);
    if (number < 0 || number >= known->places.n) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "spelled: a number that places does not have");
        return -2;
    }
    *met = (Spelling){at, size, number};
    return number;
}

static bool inside(const uint8_t *record, Py_ssize_t place) {
    return record[2 + place / 8] >> (place % 8) & 1;
}

/* How many segments before `place` the user is in. */
static Py_ssize_t before(const uint8_t *record, Py_ssize_t place) {
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; i < place / 8; i++)
        count += __builtin_popcount(record[2 + i]);
    return count + __builtin_popcount(record[2 + place / 8] & ((1u << place % 8) - 1));
}

static uint8_t *put(uint8_t *out, const void *bytes, Py_ssize_t size) {
    memcpy(out, bytes, (size_t)size);
    return out + size;
}

static uint8_t *put_length(uint8_t *out, Py_ssize_t length) {
    if (length > 127)
        *out++ = (uint8_t)(length & 127) | 128, length >>= 7;
    *out++ = (uint8_t)length;
    return out;
}

/* Writes the result of the pair of `size` bytes. NULL: it cannot be told, or an exception is set. */
static uint8_t *result(Known *known, PyObject *users, PyObject *ahead, const uint8_t *pair, Py_ssize_t size,
                       uint8_t *out) {
    Py_ssize_t name = 2 + pair[1];
    Py_ssize_t number = segment_of(known, pair + name, size - name);
    if (number < 0)
        return NULL;
    PyObject *user = PyBytes_FromStringAndSize((const char *)pair + 2, name - 2);
    if (user == NULL)
        return NULL;
    PyObject *found = PyDict_GetItemWithError(users, user);
    PyObject *late = found == NULL ? NULL : PyDict_GetItemWithError(ahead, user);
    Py_DECREF(user);
    if (found == NULL || PyErr_Occurred())
        return NULL;
    if (!PyBytes_Check(found) || PyBytes_GET_SIZE(found) < 2 + known->bitmap ||
        (late != NULL && (!PyBytes_Check(late) || PyBytes_GET_SIZE(late) != STAMP))) {
        PyErr_SetString(PyExc_TypeError, "users, ahead: not records and timestamps");
        return NULL;
    }
    const uint8_t *record = (const uint8_t *)PyBytes_AS_STRING(found);
    Py_ssize_t shard = record[0] | record[1] << 8, place = ((const int32_t *)known->places.data)[number];
    const char *as_of = shard < SHARDS_MAX ? known->as_of[shard] : NULL;
    if (as_of == NULL)
        return NULL;
    if (late != NULL)
        as_of = PyBytes_AS_STRING(late);
    const uint8_t *since = NULL;
    if (inside(record, place)) {
        Py_ssize_t at = 2 + known->bitmap + STAMP * before(record, place);
        if (at + STAMP > PyBytes_GET_SIZE(found)) {
            PyErr_SetString(PyExc_ValueError, "users: a record without the times of its segments");
            return NULL;
        }
        since = record + at;
    }
    known->asked[number] = true;
    *out++ = FIELD;
    out = put_length(out, size + 2 + (*as_of ? 2 + STAMP : 0) + (since ? 2 + 2 + STAMP : 0));
    out = put(out, pair, size);
    if (since)
        out = put(out, "\x18\x01", 2);
    out = put(out, "\x20\x01", 2);
    if (*as_of)
        out = put(put(out, "\x2a\x0c", 2), as_of, STAMP);
    return since ? put(put(out, "\x32\x0c", 2), since, STAMP) : out;
}

/* Fills what the second pass looks things up in. */
static bool prepare(Known *known, PyObject *places, PyObject *as_of) {
    if (!view_of(places, I32, false, "places", &known->places))
        return false;
    if (PyTuple_GET_SIZE(known->definitions) != known->places.n) {
        PyErr_SetString(PyExc_ValueError, "definitions: not as many as places");
        return false;
    }
    for (Py_ssize_t i = 0; i < known->places.n; i++) {
        int32_t place = ((const int32_t *)known->places.data)[i];
        if (place < 0 || place >= known->bitmap * 8 || !PyBytes_Check(PyTuple_GET_ITEM(known->definitions, i))) {
            PyErr_SetString(PyExc_ValueError, "places, definitions: beyond the bitmap, or not bytes");
            return false;
        }
    }
    PyObject *shard, *at;
    for (Py_ssize_t i = 0; PyDict_Next(as_of, &i, &shard, &at);) {
        if (!PyBytes_Check(shard) || PyBytes_GET_SIZE(shard) != 2 || !PyBytes_Check(at) ||
            (PyBytes_GET_SIZE(at) != 0 && PyBytes_GET_SIZE(at) != STAMP)) {
            PyErr_SetString(PyExc_TypeError, "as_of: not timestamps of shards");
            return false;
        }
        const uint8_t *number = (const uint8_t *)PyBytes_AS_STRING(shard);
        if ((number[0] | number[1] << 8) < SHARDS_MAX)
            known->as_of[number[0] | number[1] << 8] = PyBytes_AS_STRING(at);
    }
    known->asked = PyMem_Calloc((size_t)known->places.n + 1, sizeof(bool));
    if (known->asked == NULL)
        PyErr_NoMemory();
    return known->asked != NULL;
}

static PyObject *batch_answer(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *request, *users, *ahead, *as_of, *places, *out = NULL;
    Py_ssize_t pairs_max;
    Known known = {0};
    if (!PyArg_ParseTuple(args, "SnO!O!O!O!OO!n", &request, &pairs_max, &PyDict_Type, &users, &PyDict_Type, &ahead,
                          &PyDict_Type, &as_of, &PyDict_Type, &known.spelled, &places, &PyTuple_Type,
                          &known.definitions, &known.bitmap))
        return NULL;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(request);
    Py_ssize_t end = PyBytes_GET_SIZE(request), count = pairs_of(data, end);
    bool told = false;
    if (count < 0 || count > pairs_max)
        Py_RETURN_NONE;
    if (!prepare(&known, places, as_of))
        goto done;
    Py_ssize_t room = end + count * SAID_MAX;
    for (Py_ssize_t i = 0; i < known.places.n; i++)
        room += PyBytes_GET_SIZE(PyTuple_GET_ITEM(known.definitions, i));
    out = PyBytes_FromStringAndSize(NULL, room);
    if (out == NULL)
        goto done;
    uint8_t *begin = (uint8_t *)PyBytes_AS_STRING(out), *to = begin;
    for (Py_ssize_t at = 0; at < end && to != NULL; at += 2 + data[at + 1])
        to = result(&known, users, ahead, data + at + 2, data[at + 1], to);
    told = to != NULL;
    for (Py_ssize_t i = 0; told && i < known.places.n; i++)
        if (known.asked[i]) {
            PyObject *definition = PyTuple_GET_ITEM(known.definitions, i);
            to = put(to, PyBytes_AS_STRING(definition), PyBytes_GET_SIZE(definition));
        }
    if (told)
        _PyBytes_Resize(&out, to - begin);
    else
        Py_CLEAR(out);
done:
    view_release(&known.places);
    PyMem_Free(known.asked);
    if (out == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return out;
}

PyMethodDef answers_methods[] = {
    {"batch_answer", batch_answer, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
