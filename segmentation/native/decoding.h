/* Messages to columns: see `message_shape` and `decode_messages` in _native.pyi. */
#ifndef TIDEGATE_DECODING_H
#define TIDEGATE_DECODING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef decoding_methods[];

#endif
