/* Texts as codes into their distinct values, or one after the other. Of the former mostly one object stands for all occurrences of a text in a poll,
so objects are looked up by where they are, and only a new one by what it says. */
#include "coding.h"

typedef struct {
    PyObject *text;
    int32_t code;
} Seen;

static inline size_t place_of(const PyObject *text, size_t mask) {
    return (size_t)(((uint64_t)(uintptr_t)text * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & mask;
}

/* The code of a text among `values`, where it is put if it is new; -1 with an exception set. */
static int32_t code_of(PyObject *text, PyObject *known, PyObject *values) {
    PyObject *found = PyDict_GetItemWithError(known, text);
    if (found != NULL)
        return (int32_t)PyLong_AsLong(found);
    if (PyErr_Occurred())
        return -1;
    Py_ssize_t next = PyList_GET_SIZE(values);
    PyObject *number = PyLong_FromSsize_t(next);
    bool done = number != NULL && PyDict_SetItem(known, text, number) == 0 && PyList_Append(values, text) == 0;
    Py_XDECREF(number);
    return done ? (int32_t)next : -1;
}

static bool coded(PyObject *texts, PyObject *known, PyObject *values, Seen *seen, size_t mask, int32_t *codes) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(texts); i++) {
        PyObject *text = PyList_GET_ITEM(texts, i);
        if (text == Py_None) {
            codes[i] = -1;
            continue;
        }
        size_t at = place_of(text, mask);
        while (seen[at].text != NULL && seen[at].text != text)
            at = (at + 1) & mask;
        if (seen[at].text == NULL) {
            if (!PyUnicode_CheckExact(text)) {
                PyErr_Format(PyExc_TypeError, "texts: %.100s among them", Py_TYPE(text)->tp_name);
                return false;
            }
            int32_t code = code_of(text, known, values);
            if (code < 0)
                return false;
            seen[at] = (Seen){text, code};
        }
        codes[i] = seen[at].code;
    }
    return true;
}

static PyObject *codes_of(PyObject *self, PyObject *texts) {
    (void)self;
    if (!PyList_CheckExact(texts) || PyList_GET_SIZE(texts) >= INT32_MAX / 2)
        return PyErr_Format(PyExc_TypeError, "texts: not a list");
    size_t room = 64;
    while (room < 2 * (size_t)PyList_GET_SIZE(texts))
        room *= 2;
    int32_t *codes;
    PyObject *array = new_array(I32, PyList_GET_SIZE(texts), (void **)&codes), *out = NULL;
    PyObject *known = PyDict_New(), *values = PyList_New(0);
    Seen *seen = calloc(room, sizeof *seen);
    if (seen == NULL)
        PyErr_NoMemory();
    else if (array && known && values && coded(texts, known, values, seen, room - 1, codes))
        out = PyTuple_Pack(2, array, values);
    free(seen);
    Py_XDECREF(array), Py_XDECREF(known), Py_XDECREF(values);
    return out;
}

/* So many objects ahead memory is asked for: texts that wait for their file have long left the processor's cache. */
#define AHEAD 16

static PyObject *packed_texts(PyObject *self, PyObject *texts) {
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(texts, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
        PyErr_Clear();
        return PyErr_Format(PyExc_TypeError, "texts: not a contiguous array");
    }
    PyObject *ends = NULL, *bytes = NULL, *out = NULL;
    if (view.ndim != 1 || view.format == NULL || strcmp(view.format, "O") != 0) {
        PyErr_Format(PyExc_TypeError, "texts: not objects of one dimension");
        goto released;
    }
    PyObject **text = view.buf;
    Py_ssize_t n = view.shape[0], done = 0, used = 0, room = 40 * n + 64;
    int32_t *end;
    if (n >= INT32_MAX || (ends = new_array(I32, n + 1, (void **)&end)) == NULL ||
        (bytes = PyBytes_FromStringAndSize(NULL, room)) == NULL)
        goto released;
    end[0] = 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            __builtin_prefetch(text[i + AHEAD]);
            __builtin_prefetch((const char *)text[i + AHEAD] + 64);
        }
        if (text[i] == NULL || !PyUnicode_CheckExact(text[i]) || !PyUnicode_IS_COMPACT_ASCII(text[i]))
            break;
        Py_ssize_t length = PyUnicode_GET_LENGTH(text[i]);
        if (length > INT32_MAX - used)
            break;
        if (used + length > room) {
            room = 2 * (used + length);
            if (_PyBytes_Resize(&bytes, room) < 0)
                goto released;
        }
        memcpy(PyBytes_AS_STRING(bytes) + used, PyUnicode_1BYTE_DATA(text[i]), (size_t)length);
        used += length;
        end[++done] = (int32_t)used;
    }
    if (done < n)
        out = Py_NewRef(Py_None);
    else if (_PyBytes_Resize(&bytes, used) == 0)
        out = PyTuple_Pack(2, ends, bytes);
released:
    PyBuffer_Release(&view);
    Py_XDECREF(ends), Py_XDECREF(bytes);
    return out;
}

PyMethodDef coding_methods[] = {
    {"packed_texts", packed_texts, METH_O, NULL},
    {"codes_of", codes_of, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
