/* The module segmentation.native._native: the functions of all subjects. Their contracts are in _native.pyi. */
#include "answers.h"
#include "arrays.h"
#include "cells.h"
#include "coding.h"
#include "decoding.h"
#include "digests.h"
#include "expansion.h"
#include "gates.h"
#include "ids.h"
#include "joining.h"
#include "records.h"
#include "sorting.h"
#include "stepping.h"

/* Goes up with VERSION in __init__.py. */
#define VERSION 12

/* Whether the user wants this code: not with TIDEGATE_NATIVE=0. */
static PyObject *wanted(PyObject *self, PyObject *none) {
    (void)self, (void)none;
    const char *set = getenv("TIDEGATE_NATIVE");
    return PyBool_FromLong(set == NULL || strcmp(set, "0") != 0);
}

static PyMethodDef module_methods[] = {
    {"wanted", wanted, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1, .m_methods = module_methods,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyMethodDef *subjects[] = {
        answers_methods, cells_methods, coding_methods, decoding_methods, digests_methods,
        expansion_methods, gates_methods, joining_methods, sorting_methods, stepping_methods,
    };
    if (!arrays_ready())
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddIntConstant(module, "VERSION", VERSION) < 0 || !records_ready(module) ||
        !ids_ready(module))
        goto failed;
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++)
        if (PyModule_AddFunctions(module, subjects[i]) < 0)
            goto failed;
    return module;
failed:
    Py_XDECREF(module);
    return NULL;
}
