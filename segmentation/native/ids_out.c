/* Ids that leave the table: as texts, as an array of bytes, and as they are saved. */
#include "ids.h"
#include "joining.h"
#include "msgpack.h"

/* So many ids ahead it is asked where they begin; and half as many, what they are. */
#define AHEAD 16

typedef struct {
    View view;
    const int64_t *number;
    Py_ssize_t n;
} Wanted;

/* Numbers that were given; IndexError for others. */
static bool wanted(const Ids *ids, PyObject *numbers, Wanted *out) {
    if (!view_of(numbers, I64, false, "numbers", &out->view))
        return false;
    out->number = out->view.data, out->n = out->view.n;
    for (Py_ssize_t i = 0; i < out->n; i++)
        if (out->number[i] < 0 || (size_t)out->number[i] >= ids->count) {
            view_release(&out->view);
            PyErr_Format(PyExc_IndexError, "numbers: one that was not given");
            return false;
        }
    return true;
}

static inline void near(const Ids *ids, const Wanted *these, Py_ssize_t i) {
    if (i + AHEAD < these->n)
        __builtin_prefetch(&ids->end[these->number[i + AHEAD]]);
    if (i + AHEAD / 2 < these->n)
        __builtin_prefetch(ids->bytes + id_begin(ids, (size_t)these->number[i + AHEAD / 2]));
}

/* Of one that was forgotten nothing. */
static inline size_t length_of(const Ids *ids, size_t number) {
    return id_gone(ids, number) ? 0 : (size_t)(id_end(ids, number) - id_begin(ids, number));
}

static PyObject *text_of(const Ids *ids, size_t number) {
    return PyUnicode_DecodeUTF8(
        (const char *)ids->bytes + id_begin(ids, number), (Py_ssize_t)length_of(ids, number), "strict");
}

PyObject *ids_names(PyObject *self, PyObject *numbers) {
    const Ids *ids = (Ids *)self;
    Wanted these;
    if (!wanted(ids, numbers, &these))
        return NULL;
    PyObject *list = PyList_New(these.n);
    for (Py_ssize_t i = 0; list != NULL && i < these.n; i++) {
        near(ids, &these, i);
        PyObject *text = text_of(ids, (size_t)these.number[i]);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, text);
    }
    view_release(&these.view);
    return list;
}

PyObject *ids_packed(PyObject *self, PyObject *numbers) {
    const Ids *ids = (Ids *)self;
    Wanted these;
    if (!wanted(ids, numbers, &these))
        return NULL;
    int32_t *end;
    PyObject *ends = new_array(I32, these.n + 1, (void **)&end), *bytes = NULL, *out = NULL;
    uint64_t size = 0;
    for (Py_ssize_t i = 0; ends != NULL && i < these.n && size <= INT32_MAX; i++) {
        if (i + AHEAD < these.n)
            __builtin_prefetch(&ids->end[these.number[i + AHEAD]]);
        end[i] = (int32_t)size;
        size += length_of(ids, (size_t)these.number[i]);
    }
    if (ends != NULL && size > INT32_MAX)
        out = Py_NewRef(Py_None);
    else if (ends != NULL && (bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)) != NULL) {
        end[these.n] = (int32_t)size;
        for (Py_ssize_t i = 0; i < these.n; i++) {
            near(ids, &these, i);
            size_t number = (size_t)these.number[i];
            memcpy(PyBytes_AS_STRING(bytes) + end[i], ids->bytes + id_begin(ids, number), (size_t)(end[i + 1] - end[i]));
        }
        out = PyTuple_Pack(2, ends, bytes);
    }
    view_release(&these.view);
    Py_XDECREF(ends), Py_XDECREF(bytes);
    return out;
}

PyObject *ids_all(PyObject *self, PyObject *none) {
    (void)none;
    const Ids *ids = (Ids *)self;
    PyObject *list = PyList_New((Py_ssize_t)ids->count);
    for (size_t number = 0; list != NULL && number < ids->count; number++) {
        PyObject *text = id_gone(ids, number) ? Py_NewRef(Py_None) : text_of(ids, number);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)number, text);
    }
    return list;
}

PyObject *ids_saved(PyObject *self, PyObject *none) {
    (void)none;
    const Ids *ids = (Ids *)self;
    size_t size = list_head(NULL, ids->count);
    for (size_t number = 0; number < ids->count; number++) {
        size_t length = length_of(ids, number);
        if (length > UINT32_MAX)
            return PyErr_Format(PyExc_OverflowError, "ids: one of more than 4 GB");
        size += id_gone(ids, number) ? 1 : text_head(NULL, length) + length;
    }
    PyObject *out = new_bytes((Py_ssize_t)size);
    if (out == NULL)
        return NULL;
    unsigned char *to = (unsigned char *)PyBytes_AS_STRING(out);
    to += list_head(to, ids->count);
    for (size_t number = 0; number < ids->count; number++) {
        if (id_gone(ids, number)) {
            *to++ = MSGPACK_NIL;
            continue;
        }
        size_t length = length_of(ids, number);
        to += text_head(to, length);
        memcpy(to, ids->bytes + id_begin(ids, number), length);
        to += length;
    }
    return out;
}
