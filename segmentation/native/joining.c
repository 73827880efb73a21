/* Saved states: their pieces, most of them arrays, as one. In small pages half of the time goes into getting these. And
   texts as msgpack lists them. */
#include "joining.h"

#include "msgpack.h"

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
/* So many texts ahead it is asked what they are. */
#define AHEAD 8

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

/* Room for `more` bytes after the first `used` of `*bytes`. */
static bool make_room(PyObject **bytes, Py_ssize_t used, Py_ssize_t more) {
    if (more <= PyBytes_GET_SIZE(*bytes) - used)
        return true;
    if (more > PY_SSIZE_T_MAX / 2 - used) {
        PyErr_NoMemory();
        return false;
    }
    return _PyBytes_Resize(bytes, 2 * (used + more)) == 0;
}

static PyObject *listed_texts(PyObject *self, PyObject *array) {
    (void)self;
    Py_buffer view;
    if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
        return NULL;
    PyObject *bytes = NULL, *out = NULL;
    if (view.ndim != 1 || view.format == NULL || strcmp(view.format, "O") != 0) {
        PyErr_Format(PyExc_TypeError, "texts: not objects of one dimension");
        goto released;
    }
    PyObject **text = view.buf;
    Py_ssize_t n = view.shape[0], used = 0, i = 0;
    if (n >= UINT32_MAX / 64 || (bytes = PyBytes_FromStringAndSize(NULL, 40 * n + 64)) == NULL)
        goto released;
    used = (Py_ssize_t)list_head((unsigned char *)PyBytes_AS_STRING(bytes), (uint64_t)n);
    for (; i < n; i++) {
        if (i + AHEAD < n) {
            __builtin_prefetch(text[i + AHEAD]);
            __builtin_prefetch((const char *)text[i + AHEAD] + 64);
        }
        bool none = text[i] == Py_None;
        if (!none && (text[i] == NULL || !PyUnicode_CheckExact(text[i]) || !PyUnicode_IS_COMPACT_ASCII(text[i])))
            break;
        Py_ssize_t length = none ? 0 : PyUnicode_GET_LENGTH(text[i]);
        if (length > UINT32_MAX)
            break;
        if (!make_room(&bytes, used, length + MSGPACK_HEAD_MOST))
            goto released;
        unsigned char *to = (unsigned char *)PyBytes_AS_STRING(bytes) + used;
        if (none) {
            *to = MSGPACK_NIL;
            used++;
            continue;
        }
        size_t first = text_head(to, (uint64_t)length);
        memcpy(to + first, PyUnicode_1BYTE_DATA(text[i]), (size_t)length);
        used += (Py_ssize_t)first + length;
    }
    if (i < n)
        out = Py_NewRef(Py_None);
    else if (_PyBytes_Resize(&bytes, used) == 0)
        out = Py_NewRef(bytes);
released:
    PyBuffer_Release(&view);
    Py_XDECREF(bytes);
    return out;
}

PyMethodDef joining_methods[] = {
    {"listed_texts", listed_texts, METH_O, NULL},
    {"joined_bytes", joined_bytes, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
