/* Saved states: their pieces, most of them arrays, as one. In small pages half of the time goes into getting these. */
#include "joining.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

/* Bytes that are asked for in large pages, as numpy does; and from how many on others go on meanwhile. */
#define LARGE ((Py_ssize_t)1 << 22)
#define LONG ((Py_ssize_t)1 << 20)
#define PAGE 4096u

PyObject *new_bytes(Py_ssize_t n) {
    PyObject *out = PyBytes_FromStringAndSize(NULL, n);
#ifdef MADV_HUGEPAGE
    if (out != NULL && n >= LARGE) {
        uintptr_t begin = (uintptr_t)PyBytes_AS_STRING(out), first = (begin + PAGE - 1) / PAGE * PAGE;
        uintptr_t last = (begin + (uintptr_t)n) / PAGE * PAGE;
        (void)madvise((void *)first, last - first, MADV_HUGEPAGE); /* a wish: without it all is the same, slower */
    }
#endif
    return out;
}

static void copy(char *to, const Py_buffer *pieces, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) {
        memcpy(to, pieces[i].buf, (size_t)pieces[i].len);
        to += pieces[i].len;
    }
}

static PyObject *joined_bytes(PyObject *self, PyObject *list) {
    (void)self;
    if (!PyList_Check(list))
        return PyErr_Format(PyExc_TypeError, "pieces: not a list");
    Py_ssize_t n = PyList_GET_SIZE(list), taken = 0, size = 0;
    Py_buffer *pieces = PyMem_Calloc((size_t)n + 1, sizeof *pieces);
    if (pieces == NULL)
        return PyErr_NoMemory();
    PyObject *out = NULL;
    /* The list may change while somebody's code gives its buffer. */
    for (; taken < n && taken < PyList_GET_SIZE(list); taken++) {
        if (PyObject_GetBuffer(PyList_GET_ITEM(list, taken), &pieces[taken], PyBUF_C_CONTIGUOUS) < 0)
            goto released;
        if (pieces[taken].len > PY_SSIZE_T_MAX - size) {
            PyBuffer_Release(&pieces[taken]);
            PyErr_NoMemory();
            goto released;
        }
        size += pieces[taken].len;
    }
    if ((out = new_bytes(size)) == NULL)
        goto released;
    char *to = PyBytes_AS_STRING(out);
    if (size < LONG)
        copy(to, pieces, taken);
    else {
        Py_BEGIN_ALLOW_THREADS
        copy(to, pieces, taken);
        Py_END_ALLOW_THREADS
    }
released:
    for (Py_ssize_t i = 0; i < taken; i++)
        PyBuffer_Release(&pieces[i]);
    PyMem_Free(pieces);
    return out;
}

PyMethodDef joining_methods[] = {
    {"joined_bytes", joined_bytes, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
