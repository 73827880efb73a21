/* See shape.h. */
#include "shape.h"

/* Objects in one another: what is deeper is somebody else's, so this many calls in one another at most. */
#define NODES_DEEP_MAX 30
/* Bytes of a key with escapes. */
#define ESCAPED_KEY_MAX 1024

static uint32_t key_slot(Text key, size_t length) {
    uint32_t first = length ? key[0] : 0, last = length ? key[length - 1] : 0, middle = length ? key[length / 2] : 0;
    return (uint32_t)length * 31 + first * 7 + middle * 3 + last;
}

static bool node_init(Node *node, PyObject *children, int node_number, const Shape *shape) {
    Py_ssize_t count = PyTuple_Check(children) ? PyTuple_GET_SIZE(children) : -1;
    if (count < 0 || count > 100000) {
        PyErr_SetString(PyExc_TypeError, "nodes: not a tuple of children");
        return false;
    }
    uint32_t size = 8;
    while (size < 4 * (uint32_t)count)
        size *= 2;
    node->mask = size - 1;
    node->children = calloc((size_t)count + 1, sizeof *node->children);
    node->slots = calloc(size, sizeof *node->slots);
    if (node->children == NULL || node->slots == NULL) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++, node->count++) {
        Child *child = &node->children[i];
        const char *key;
        Py_ssize_t length;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(children, i), "y#ii", &key, &length, &child->leaf, &child->inner))
            return false;
        bool leaf = child->leaf >= 0 && child->leaf < shape->span_count && child->inner == -1;
        bool inner = child->inner > node_number && child->inner < shape->node_count && child->leaf == -1;
        if (leaf == inner) {
            PyErr_SetString(PyExc_ValueError, "nodes: a child is neither a span nor a node behind its own");
            return false;
        }
        unsigned char *copy = malloc((size_t)length + 1);
        if (copy == NULL) {
            PyErr_NoMemory();
            return false;
        }
        memcpy(copy, key, (size_t)length);
        copy[length] = '"';
        child->key = copy, child->length = (size_t)length;
        child->next = i + 1 < count ? (int)i + 1 : 0;
        uint32_t slot = key_slot(copy, child->length) & node->mask;
        while (node->slots[slot] != 0)
            slot = (slot + 1) & node->mask;
        node->slots[slot] = (int)i + 1;
    }
    return true;
}

bool shape_init(Shape *shape, PyObject *nodes, int span_count) {
    *shape = (Shape){0};
    Py_ssize_t count = PyTuple_Check(nodes) ? PyTuple_GET_SIZE(nodes) : 0;
    if (count < 1 || count > NODES_DEEP_MAX * 1000 || span_count < 0 || span_count > 100000) {
        PyErr_SetString(PyExc_ValueError, "nodes: not a tuple of some nodes, or spans out of range");
        return false;
    }
    shape->nodes = calloc((size_t)count, sizeof *shape->nodes);
    shape->spans = calloc((size_t)span_count + 1, sizeof *shape->spans);
    if (shape->nodes == NULL || shape->spans == NULL) {
        PyErr_NoMemory();
        return false;
    }
    shape->node_count = (int)count, shape->span_count = span_count;
    for (int i = 0; i < shape->node_count; i++)
        if (!node_init(&shape->nodes[i], PyTuple_GET_ITEM(nodes, i), i, shape))
            return false;
    return true;
}

void shape_free(Shape *shape) {
    for (int i = 0; i < shape->node_count; i++) {
        Node *node = &shape->nodes[i];
        for (int child = 0; child < node->count; child++)
            free((void *)node->children[child].key);
        free(node->children);
        free(node->slots);
    }
    free(shape->nodes);
    free(shape->spans);
}

/* The child with this key, NULL if the schema does not know it. */
static Child *child_of(const Node *node, Text key, size_t length) {
    for (uint32_t slot = key_slot(key, length) & node->mask; node->slots[slot] != 0; slot = (slot + 1) & node->mask) {
        Child *child = &node->children[node->slots[slot] - 1];
        if (child->length == length && memcmp(child->key, key, length) == 0)
            return child;
    }
    return NULL;
}

/* The same where the key is written with escapes, in at most ESCAPED_KEY_MAX bytes. */
static Child *child_escaped(const Node *node, Text key, Text end) {
    unsigned char plain[ESCAPED_KEY_MAX];
    return child_of(node, plain, json_unescaped(key, end, plain));
}

/* Whether the child's key stands at p, with its closing quote. */
static inline bool is_key(const Child *child, Text p, Text end) {
    size_t length = child->length + 1;
    if ((size_t)(end - p) < length)
        return false;
    if (length > 16 || length < 8)
        return memcmp(p, child->key, length) == 0;
    uint64_t here[2], wanted[2]; /* the first and the last eight bytes */
    memcpy(&here[0], p, 8), memcpy(&here[1], p + length - 8, 8);
    memcpy(&wanted[0], child->key, 8), memcpy(&wanted[1], child->key + length - 8, 8);
    return here[0] == wanted[0] && here[1] == wanted[1];
}

/* Past the value at p, which `span` gets. */
static Text read_span(Shape *shape, Span *span, Text p, Text end) {
    if (span->message == shape->message)
        return NULL; /* the key is there twice */
    span->message = shape->message;
    span->at = p;
    if (*p == '"') {
        span->kind = '"';
        span->at = ++p;
        span->end = p = json_string(p, end, &span->flags);
        return p == NULL ? NULL : p + 1;
    }
    span->kind = *p == '-' || (*p >= '0' && *p <= '9') ? '0' : *p == '[' ? '{' : (char)*p;
    return span->end = span->kind == '0' ? json_number(p) : json_skip(p, end);
}

/* Past the object whose fields begin at p, behind the brace. */
static Text read_node(Shape *shape, Node *node, Text p, Text end, int depth) {
    if (node->message == shape->message || depth > NODES_DEEP_MAX)
        return NULL;
    node->message = shape->message;
    p = json_space(p);
    if (*p == '}')
        return p + 1;
    int *guess = &node->first;
    for (;;) {
        if (*p++ != '"')
            return NULL;
        /* Most messages have the keys in the same order, so this is mostly the child, and its key need not be read. */
        Child *child = &node->children[*guess];
        if (node->count && is_key(child, p, end)) {
            p += child->length;
        } else {
            int flags;
            Text key = p;
            p = json_string(p, end, &flags);
            if (p == NULL || ((flags & ESCAPED) && p - key > ESCAPED_KEY_MAX))
                return NULL;
            child = flags & ESCAPED ? child_escaped(node, key, p) : child_of(node, key, (size_t)(p - key));
            if (child != NULL)
                *guess = (int)(child - node->children);
        }
        p = json_space(p + 1);
        if (*p != ':')
            return NULL;
        p = json_space(p + 1);
        if (child == NULL) {
            p = json_skip(p, end);
        } else {
            guess = &child->next;
            if (child->leaf >= 0) {
                p = read_span(shape, &shape->spans[child->leaf], p, end);
            } else {
                Node *inner = &shape->nodes[child->inner];
                if (*p == '{') {
                    p = read_node(shape, inner, p + 1, end, depth + 1);
                } else {
                    if (*p != 'n' || inner->message == shape->message)
                        return NULL;
                    inner->message = shape->message;
                    p = json_skip(p, end);
                }
            }
        }
        if (p == NULL)
            return NULL;
        p = json_space(p);
        if (*p == '}')
            return p + 1;
        if (*p != ',')
            return NULL;
        p = json_space(p + 1);
    }
}

bool shape_read(Shape *shape, Text message, Text end) {
    shape->message++;
    Text p = json_space(message);
    if (*p != '{')
        return false;
    p = read_node(shape, &shape->nodes[0], p + 1, end, 0);
    return p != NULL && json_space(p) == end;
}
