/* Answers to batches of checks, from bytes to bytes. */
#ifndef TIDEGATE_ANSWERS_H
#define TIDEGATE_ANSWERS_H

#include "arrays.h"

extern PyMethodDef answers_methods[];

#endif
