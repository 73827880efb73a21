/* Running values of cells x users: applying rows, and which thresholds they cross. See cells.c. */
#ifndef TIDEGATE_CELLS_H
#define TIDEGATE_CELLS_H

#include "arrays.h"

extern PyMethodDef cells_methods[];

#endif
