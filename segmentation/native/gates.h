/* Gates: AND and OR of signals, level by level. See gates.c. */
#ifndef TIDEGATE_GATES_H
#define TIDEGATE_GATES_H

#include "arrays.h"

extern PyMethodDef gates_methods[];

#endif
