/* See expansion.h. Terms that need more than a look-up (a condition, a computed argument, a moving window, values that
are kept) are given back as pairs (row, term, sign) for others to decide. */
#include "expansion.h"

#define CAPSULE "tidegate.expansion"

static void expansion_free(Expansion *e) {
    free(e->first);
    free(e->entry);
    free(e);
}

static void capsule_free(PyObject *capsule) {
    Expansion *expansion = PyCapsule_GetPointer(capsule, CAPSULE);
    if (expansion != NULL)
        expansion_free(expansion);
}

/* [terms] and [entries], as they come. */
typedef struct {
    int64_t *term, *sign, *start, *end, *cell, *weight, *argument;
    Py_ssize_t terms, entries, edges;
} Given;

static bool entries_made(Expansion *e, const Given *g) {
    Py_ssize_t places = g->edges - 1;
    if (g->edges < 1 || e->codes < 1 || places < (LATE + 1) * e->codes || places % e->codes || e->first[0] != 0 ||
        places >= INT32_MAX / 2 || e->first[places] != g->entries || e->arguments < 0 || e->arguments > MOST_ARGUMENTS)
        return false;
    for (Py_ssize_t i = 0; i < places; i++)
        if (e->first[i + 1] < e->first[i])
            return false;
    for (Py_ssize_t i = 0; i < g->entries; i++) {
        int64_t t = g->term[i], weight;
        if (t < 0 || t >= g->terms || g->argument[t] < -1 || g->argument[t] >= e->arguments || g->cell[t] < -1 ||
            g->cell[t] >= INT32_MAX || __builtin_mul_overflow(g->sign[i], g->weight[t], &weight))
            return false;
        e->entry[i] = (TermEntry){
            (int32_t)g->cell[t], (int32_t)g->argument[t], weight, t, g->sign[i], g->start[t], g->end[t],
        };
        e->cells = g->cell[t] >= e->cells ? g->cell[t] + 1 : e->cells;
    }
    e->phases = places / e->codes;
    return true;
}

static PyObject *expansion_made(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *first, *term, *sign, *start, *end, *cell, *weight, *argument;
    Py_ssize_t codes, arguments;
    if (!PyArg_ParseTuple(args, "nnOOOOOOOO", &codes, &arguments, &first, &term, &sign, &start, &end, &cell, &weight,
                          &argument))
        return NULL;
    Expansion *e = calloc(1, sizeof *e);
    if (e == NULL)
        return PyErr_NoMemory();
    Given g = {0};
    PyObject *capsule = NULL;
    e->codes = codes, e->arguments = arguments;
    if (copy_of(first, -1, "first", &e->first, &g.edges) && copy_of(term, -1, "term", &g.term, &g.entries) &&
        copy_of(sign, g.entries, "sign", &g.sign, NULL) && copy_of(start, -1, "start", &g.start, &g.terms) &&
        copy_of(end, g.terms, "end", &g.end, NULL) && copy_of(cell, g.terms, "cell", &g.cell, NULL) &&
        copy_of(weight, g.terms, "weight", &g.weight, NULL) &&
        copy_of(argument, g.terms, "argument", &g.argument, NULL)) {
        if ((e->entry = malloc(((size_t)g.entries + 1) * sizeof *e->entry)) == NULL)
            PyErr_NoMemory();
        else if (!entries_made(e, &g))
            PyErr_SetString(PyExc_ValueError, "expansion: places, terms or arguments that do not belong together");
        else
            capsule = PyCapsule_New(e, CAPSULE, capsule_free);
    }
    free(g.term), free(g.sign), free(g.start), free(g.end), free(g.cell), free(g.weight), free(g.argument);
    if (capsule == NULL)
        expansion_free(e);
    return capsule;
}

static bool arguments_of(PyObject *arguments, LogRows *rows) {
    const Expansion *e = rows->expansion;
    if (!PyList_Check(arguments) || PyList_GET_SIZE(arguments) != 2 * e->arguments) {
        PyErr_SetString(PyExc_ValueError, "arguments: not two arrays for each");
        return false;
    }
    for (Py_ssize_t a = 0; a < e->arguments; a++)
        if (!view_of_length(PyList_GET_ITEM(arguments, 2 * a), I64, false, rows->n, "argument", &rows->data[a]) ||
            !view_of_length(PyList_GET_ITEM(arguments, 2 * a + 1), BOOL, false, rows->n, "valid", &rows->valid[a]))
            return false;
    return true;
}

static bool in_range(const LogRows *rows) {
    const int64_t *phase = rows->phase.data;
    const int32_t *code = rows->code.data;
    bool inside = true;
    for (Py_ssize_t i = 0; i < rows->changes; i++)
        inside &= (uint64_t)phase[i] < (uint64_t)rows->expansion->phases;
    for (Py_ssize_t i = 0; i < rows->n; i++)
        inside &= code[i] >= 0 && code[i] < rows->expansion->codes;
    return inside;
}

bool log_rows_of(PyObject *tuple, LogRows *rows) {
    PyObject *capsule, *phase, *code, *time, *known, *step, *arguments;
    if (!PyArg_ParseTuple(tuple, "OOOOOOO", &capsule, &phase, &code, &time, &known, &step, &arguments) ||
        (rows->expansion = PyCapsule_GetPointer(capsule, CAPSULE)) == NULL ||
        !view_of(phase, I64, false, "phase", &rows->phase) || !view_of(code, I32, false, "code", &rows->code))
        return false;
    rows->n = rows->code.n, rows->changes = rows->phase.n;
    if (!view_of_length(time, I64, false, rows->n, "time", &rows->time) ||
        !view_of_length(known, I64, false, rows->n, "known", &rows->known) ||
        !view_of_length(step, I64, false, rows->n, "step", &rows->step) || !arguments_of(arguments, rows))
        return false;
    if (rows->changes > rows->n || rows->n >= INT32_MAX || !in_range(rows)) {
        PyErr_SetString(PyExc_ValueError, "a phase or code is out of range");
        return false;
    }
    return true;
}

void log_rows_release(LogRows *rows) {
    View *views[] = {&rows->phase, &rows->code, &rows->time, &rows->known, &rows->step};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        view_release(views[i]);
    for (size_t a = 0; a < MOST_ARGUMENTS; a++)
        view_release(&rows->data[a]), view_release(&rows->valid[a]);
}

/* The pairs that are for others to decide. */
static void undecided(const LogRows *rows, List *rest) {
    for (Py_ssize_t row = 0; row < rows->n; row++) {
        Item item = item_of(rows, row);
        for (int nth = 0; nth < stretches(&item); nth++) {
            const TermEntry *end, *entry = stretch_of(rows->expansion, &item, nth, &end);
            for (; entry < end; entry++)
                if (entry->cell < 0 && within(&item, entry, nth))
                    push_three(rest, row, entry->term, entry->sign);
        }
    }
}

/* (row, term, sign) of those pairs. */
static PyObject *pairs_out(const List *rest) {
    Py_ssize_t n = (Py_ssize_t)(rest->n / 3);
    int64_t *column[3];
    PyObject *out[3] = {NULL, NULL, NULL};
    for (int c = 0; c < 3; c++)
        if ((out[c] = new_array(I64, n, (void **)&column[c])) == NULL) {
            Py_XDECREF(out[0]), Py_XDECREF(out[1]);
            return NULL;
        }
    for (Py_ssize_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            column[c][i] = rest->items[3 * i + c];
    return Py_BuildValue("NNN", out[0], out[1], out[2]);
}

static PyObject *undecided_of(PyObject *self, PyObject *tuple) {
    (void)self;
    LogRows *rows = calloc(1, sizeof *rows);
    if (rows == NULL)
        return PyErr_NoMemory();
    PyObject *out = NULL;
    List rest = {0};
    if (log_rows_of(tuple, rows)) {
        Py_BEGIN_ALLOW_THREADS
        undecided(rows, &rest);
        Py_END_ALLOW_THREADS
        out = rest.failed ? PyErr_NoMemory() : pairs_out(&rest);
    }
    list_free(&rest);
    log_rows_release(rows);
    free(rows);
    return out;
}

PyMethodDef expansion_methods[] = {
    {"expansion", expansion_made, METH_VARARGS, NULL},
    {"undecided", undecided_of, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
