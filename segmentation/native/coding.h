/* Lists of texts as codes. See coding.c. */
#ifndef TIDEGATE_CODING_H
#define TIDEGATE_CODING_H

#include "arrays.h"

extern PyMethodDef coding_methods[];

#endif
