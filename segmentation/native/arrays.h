/* Arrays at the boundary to Python: numpy's, through the buffer protocol, so that no header of numpy is needed. */
#ifndef TIDEGATE_ARRAYS_H
#define TIDEGATE_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "buffers.h"

/* A borrowed view of one contiguous array of one dimension. `release` is safe on one that was never taken. */
typedef struct {
    Py_buffer buffer;
    void *data;
    Py_ssize_t n;
    bool taken;
} View;

typedef enum { I64, I32, I16, U8, BOOL } Kind;

/* Takes a view of `object`, or raises TypeError naming `name`: another dtype, not contiguous, read-only but `write`. */
bool view_of(PyObject *object, Kind kind, bool write, const char *name, View *view);

/* As view_of; raises ValueError unless it has n items. */
bool view_of_length(PyObject *object, Kind kind, bool write, Py_ssize_t n, const char *name, View *view);

void view_release(View *view);

/* A new numpy array of n items, not initialised, and where its data is. NULL with an exception set. */
PyObject *new_array(Kind kind, Py_ssize_t n, void **data);

/* A malloc'ed copy of an int64 array of n items (n < 0: of any number, which goes to `found` unless NULL). */
bool copy_of(PyObject *object, Py_ssize_t n, const char *name, int64_t **copy, Py_ssize_t *found);

/* A list of (signal, step, holds) as a tuple of three arrays: int64, int64, bool. */
PyObject *flips_out(const List *flips);

/* Called once, when the module is loaded. */
bool arrays_ready(void);

#endif
