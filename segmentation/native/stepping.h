/* Steps and when events become known. See stepping.c. */
#ifndef TIDEGATE_STEPPING_H
#define TIDEGATE_STEPPING_H

#include "arrays.h"

extern PyMethodDef stepping_methods[];

#endif
