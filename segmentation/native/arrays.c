/* See arrays.h. */
#include "arrays.h"
#include "buffers.h"

static const struct {
    const char *formats; /* what numpy calls it; int64 is 'l' or 'q' by platform */
    Py_ssize_t size;
    const char *name;
} KINDS[] = {
    [I64] = {"lq", 8, "int64"}, [I32] = {"i", 4, "int32"}, [I16] = {"h", 2, "int16"},
    [U8] = {"B", 1, "uint8"},   [BOOL] = {"?", 1, "bool"},
};
#define KIND_COUNT (sizeof KINDS / sizeof KINDS[0])

static PyObject *numpy_empty;
static PyObject *dtypes[KIND_COUNT];

bool arrays_ready(void) {
    if (numpy_empty != NULL)
        return true;
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL)
        return false;
    for (size_t kind = 0; kind < KIND_COUNT; kind++) {
        dtypes[kind] = PyObject_CallMethod(numpy, "dtype", "s", KINDS[kind].name);
        if (dtypes[kind] == NULL) {
            Py_DECREF(numpy);
            return false;
        }
    }
    numpy_empty = PyObject_GetAttrString(numpy, "empty");
    Py_DECREF(numpy);
    return numpy_empty != NULL;
}

bool view_of(PyObject *object, Kind kind, bool write, const char *name, View *view) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (write ? PyBUF_WRITABLE : 0);
    view->taken = false;
    if (PyObject_GetBuffer(object, &view->buffer, flags) < 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s: not a contiguous%s array", name, write ? ", writable" : "");
        return false;
    }
    const Py_buffer *b = &view->buffer;
    const char *format = b->format == NULL ? "B" : b->format;
    if (b->ndim != 1 || b->itemsize != KINDS[kind].size || format[0] == '\0' || format[1] != '\0' ||
        strchr(KINDS[kind].formats, format[0]) == NULL) {
        PyErr_Format(PyExc_TypeError, "%s: not %s of one dimension", name, KINDS[kind].name);
        PyBuffer_Release(&view->buffer);
        return false;
    }
    view->taken = true;
    view->data = b->buf;
    view->n = b->shape[0];
    return true;
}

bool view_of_length(PyObject *object, Kind kind, bool write, Py_ssize_t n, const char *name, View *view) {
    if (!view_of(object, kind, write, name, view))
        return false;
    if (view->n != n) {
        PyErr_Format(PyExc_ValueError, "%s: %zd items instead of %zd", name, view->n, n);
        view_release(view);
        return false;
    }
    return true;
}

void view_release(View *view) {
    if (view->taken)
        PyBuffer_Release(&view->buffer);
    view->taken = false;
}

PyObject *new_array(Kind kind, Py_ssize_t n, void **data) {
    PyObject *size = PyLong_FromSsize_t(n);
    if (size == NULL)
        return NULL;
    PyObject *array = PyObject_CallFunctionObjArgs(numpy_empty, size, dtypes[kind], NULL);
    Py_DECREF(size);
    if (array == NULL)
        return NULL;
    Py_buffer buffer;
    if (PyObject_GetBuffer(array, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    *data = buffer.buf; /* stays where it is as long as the array lives, which is at least as long as this call */
    PyBuffer_Release(&buffer);
    return array;
}

bool copy_of(PyObject *object, Py_ssize_t n, const char *name, int64_t **copy, Py_ssize_t *found) {
    View view;
    if (!(n < 0 ? view_of(object, I64, false, name, &view) : view_of_length(object, I64, false, n, name, &view)))
        return false;
    *copy = malloc((size_t)(view.n ? view.n : 1) * sizeof(int64_t));
    if (*copy != NULL)
        memcpy(*copy, view.data, (size_t)view.n * sizeof(int64_t));
    if (found != NULL)
        *found = view.n;
    view_release(&view);
    if (*copy == NULL)
        PyErr_NoMemory();
    return *copy != NULL;
}

PyObject *flips_out(const List *flips) {
    Py_ssize_t n = (Py_ssize_t)(flips->n / 3);
    int64_t *signal, *step;
    uint8_t *holds;
    PyObject *signals = new_array(I64, n, (void **)&signal), *steps = new_array(I64, n, (void **)&step);
    PyObject *held = new_array(BOOL, n, (void **)&holds);
    if (signals == NULL || steps == NULL || held == NULL) {
        Py_XDECREF(signals), Py_XDECREF(steps), Py_XDECREF(held);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        signal[i] = flips->items[3 * i];
        step[i] = flips->items[3 * i + 1];
        holds[i] = (uint8_t)flips->items[3 * i + 2];
    }
    return Py_BuildValue("NNN", signals, steps, held);
}
