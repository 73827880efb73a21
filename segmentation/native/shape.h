/* Where a schema's columns are in a message, compiled: which keys of which objects hold what (`Node`), and the pass
   over a message that finds their values as they are written (`Span`). */
#ifndef TIDEGATE_SHAPE_H
#define TIDEGATE_SHAPE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "json.h"

/* A value as it is written, without a string's quotes. */
typedef struct {
    Text at, end;
    uint64_t message; /* in which one it was found last */
    int flags;        /* a string's, see json.h */
    char kind;        /* '"', '0' a number, 't', 'f', 'n'; '{' any object or array */
} Span;

typedef struct {
    Text key; /* and the closing quote */
    size_t length;
    int leaf, inner; /* which span, or which node; the other is -1 */
    int next;        /* the child that came after this one in the message before */
} Child;

typedef struct {
    Child *children;
    int count, first;
    uint32_t mask;
    int *slots; /* by key: a child + 1, 0 is free */
    uint64_t message;
} Node;

typedef struct {
    Node *nodes;
    int node_count;
    Span *spans;
    int span_count;
    uint64_t message; /* the number of the one that is being read */
} Shape;

/* `nodes`: per node a tuple of (key bytes, span, node), the root first, the last two -1 where there is none; a node
   stands behind the one it is in. False with an exception set; shape_free is due in either case. */
bool shape_init(Shape *shape, PyObject *nodes, int span_count);

void shape_free(Shape *shape);

/* Reads one message. True: it is a JSON object, and every span with its number is right. False: it is not, or
   somebody else must look: a key of the schema twice, something else where there must be an object. */
bool shape_read(Shape *shape, Text message, Text end);

#endif
