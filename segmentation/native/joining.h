/* Bytes of one piece after the other. See joining.c. */
#ifndef TIDEGATE_JOINING_H
#define TIDEGATE_JOINING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A new bytes object, not initialised: where it is large, in large pages if the system has them to give. */
PyObject *new_bytes(Py_ssize_t n);

extern PyMethodDef joining_methods[];

#endif
