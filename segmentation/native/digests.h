/* XXH3 of short texts, by which users belong to shards. */
#ifndef TIDEGATE_DIGESTS_H
#define TIDEGATE_DIGESTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyMethodDef digests_methods[];

#endif
