/* Lists of texts as codes into their distinct values. Mostly one object stands for all occurrences of a text in a poll,
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

PyMethodDef coding_methods[] = {
    {"codes_of", codes_of, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
