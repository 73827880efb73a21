/* BatchCheckMembership from the bytes of the request to those of the response; `batch_by_python` in grpc_server/fast.py says the same.

Users are looked up in passes over all pairs, each of which brings near what the next one reads: of a million users
hardly any is in the processor's caches, and waiting for them one after the other would take most of the time. Whatever
is not the usual spelling of a request, or not known, is None: others answer it. */
#include "answers.h"

#include "records.h"

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
    const uint8_t *at; /* tag of the user, its length, the user, the segment */
    Py_ssize_t size;
    uint64_t hash; /* of the user */
} Pair;

typedef struct {
    const Records *users, *ahead;
    PyObject *spelled, *definitions;
    View places;
    Py_ssize_t bitmap;
    const char *as_of[SHARDS_MAX]; /* NULL: cannot be told; an empty text: before any event */
    Spelling met[REMEMBERED];
    bool *asked;
} Known;

/* The number of pairs; -1: not the usual spelling. */
static Py_ssize_t count_pairs(const uint8_t *data, Py_ssize_t end) {
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

/* Fills `pairs`, and brings their users near. */
static void find_pairs(const Records *users, const uint8_t *data, Pair *pairs, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) {
        pairs[i] = (Pair){data + 2, data[1], hash_of(data + 4, data[3])};
        near_slot(users, pairs[i].hash);
        data += 2 + data[1];
    }
    for (Py_ssize_t i = 0; i < count; i++)
        near_entry(users, pairs[i].hash);
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

/* Writes the result of a pair. NULL: it cannot be told, or an exception is set. */
static uint8_t *result(Known *known, const Pair *asked, uint8_t *out) {
    const uint8_t *pair = asked->at, *user = pair + 2;
    Py_ssize_t size = asked->size, user_size = pair[1], name = 2 + user_size;
    Py_ssize_t number = segment_of(known, pair + name, size - name);
    if (number < 0)
        return NULL;
    const Entry *found = find_record(known->users, asked->hash, user, user_size);
    const Entry *late = known->ahead->taken ? find_record(known->ahead, asked->hash, user, user_size) : NULL;
    if (found == NULL)
        return NULL;
    if (found->size < 2 + known->bitmap || (late != NULL && late->size != STAMP)) {
        PyErr_SetString(PyExc_ValueError, "users, ahead: not records and timestamps");
        return NULL;
    }
    const uint8_t *record = found->bytes + found->key_size;
    Py_ssize_t shard = record[0] | record[1] << 8, place = ((const int32_t *)known->places.data)[number];
    const char *as_of = shard < SHARDS_MAX ? known->as_of[shard] : NULL;
    if (as_of == NULL)
        return NULL;
    if (late != NULL)
        as_of = (const char *)late->bytes + late->key_size;
    const uint8_t *since = NULL;
    if (inside(record, place)) {
        Py_ssize_t at = 2 + known->bitmap + STAMP * before(record, place);
        if (at + STAMP > found->size) {
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
    PyObject *request, *as_of, *places, *out = NULL;
    Py_ssize_t pairs_max;
    Known known = {0};
    if (!PyArg_ParseTuple(args, "SnO!O!O!O!OO!n", &request, &pairs_max, records_type, &known.users, records_type,
                          &known.ahead, &PyDict_Type, &as_of, &PyDict_Type, &known.spelled, &places, &PyTuple_Type,
                          &known.definitions, &known.bitmap))
        return NULL;
    Pair *pairs = NULL;
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(request);
    Py_ssize_t end = PyBytes_GET_SIZE(request), count = count_pairs(data, end);
    bool told = false;
    if (count < 0 || count > pairs_max)
        Py_RETURN_NONE;
    if (!prepare(&known, places, as_of))
        goto done;
    pairs = PyMem_Malloc((size_t)count * sizeof(Pair) + 1);
    if (pairs == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    find_pairs(known.users, data, pairs, count);
    Py_ssize_t room = end + count * SAID_MAX;
    for (Py_ssize_t i = 0; i < known.places.n; i++)
        room += PyBytes_GET_SIZE(PyTuple_GET_ITEM(known.definitions, i));
    out = PyBytes_FromStringAndSize(NULL, room);
    if (out == NULL)
        goto done;
    uint8_t *begin = (uint8_t *)PyBytes_AS_STRING(out), *to = begin;
    for (Py_ssize_t i = 0; i < count && to != NULL; i++)
        to = result(&known, &pairs[i], to);
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
    PyMem_Free(pairs);
    if (out == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return out;
}

PyMethodDef answers_methods[] = {
    {"batch_answer", batch_answer, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
