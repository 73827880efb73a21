/* The kernel of linear cells: rows of the log and rows (cell, step, delta) in, new values and crossed thresholds out.

Steps are ordered by user, so nothing is sorted: rows are dealt out to their steps, and the steps are walked through
one after the other, each user's block of values being near at hand meanwhile. A step's rows are summed per cell before
the cell settles. Whatever does not fit into 62 bits is undone and left to exact integers (the caller's slow twin). */
#include "cells.h"
#include "expansion.h"
#include "sorting.h"

#define SAFE (INT64_C(1) << 62)
#define CAPSULE "tidegate.cells"
/* Steps ahead of the present one whose memory is asked for, with many users each a wait of its own: values, and the
places in the table of blocks, which are gone through sooner. */
#define AHEAD 16
#define FAR_AHEAD 48

/* What does not change: made once per plan, owns its arrays. */
typedef struct {
    Py_ssize_t cells, families;
    int64_t *family, *slot;         /* [cells] */
    int64_t *width, *template_at;   /* [families]; template_at: where the family's template begins */
    int64_t *template;              /* all templates, one after the other */
    int64_t *first;                 /* [cells + 1]: each cell's stretch of thresholds, ascending */
    int64_t *bound, *signal;        /* [thresholds] */
} Cells;

static void cells_free(Cells *cells) {
    int64_t **all[] = {&cells->family, &cells->slot, &cells->width, &cells->template_at, &cells->template,
                       &cells->first, &cells->bound, &cells->signal};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(*all[i]);
    free(cells);
}

static void capsule_free(PyObject *capsule) {
    Cells *cells = PyCapsule_GetPointer(capsule, CAPSULE);
    if (cells != NULL)
        cells_free(cells);
}

static bool cells_valid(Cells *cells, Py_ssize_t templates, Py_ssize_t thresholds) {
    int64_t end = 0;
    for (Py_ssize_t f = 0; f < cells->families; f++) {
        cells->template_at[f] = end;
        if (cells->width[f] < 0 || cells->width[f] > templates - end)
            return false;
        end += cells->width[f];
    }
    for (Py_ssize_t c = 0; c < cells->cells; c++) {
        int64_t family = cells->family[c];
        if (family < 0 || family >= cells->families || cells->slot[c] < 0 || cells->slot[c] >= cells->width[family])
            return false;
        if (cells->first[c] < 0 || cells->first[c + 1] < cells->first[c])
            return false;
    }
    return end == templates && cells->first[0] == 0 && cells->first[cells->cells] == thresholds;
}

static PyObject *cells_made(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *family, *slot, *width, *template, *first, *bound, *signal;
    if (!PyArg_ParseTuple(args, "OOOOOOO", &family, &slot, &width, &template, &first, &bound, &signal))
        return NULL;
    Cells *cells = calloc(1, sizeof *cells);
    if (cells == NULL)
        return PyErr_NoMemory();
    Py_ssize_t templates, thresholds;
    if (!copy_of(family, -1, "family", &cells->family, &cells->cells) ||
        !copy_of(slot, cells->cells, "slot", &cells->slot, NULL) ||
        !copy_of(width, -1, "width", &cells->width, &cells->families) ||
        !copy_of(width, cells->families, "width", &cells->template_at, NULL) ||
        !copy_of(template, -1, "template", &cells->template, &templates) ||
        !copy_of(first, cells->cells + 1, "first", &cells->first, NULL) ||
        !copy_of(bound, -1, "bound", &cells->bound, &thresholds) ||
        !copy_of(signal, thresholds, "signal", &cells->signal, NULL))
        goto failed;
    if (!cells_valid(cells, templates, thresholds)) {
        PyErr_SetString(PyExc_ValueError, "cells: families, slots or thresholds that do not belong together");
        goto failed;
    }
    PyObject *capsule = PyCapsule_New(cells, CAPSULE, capsule_free);
    if (capsule != NULL)
        return capsule;
failed:
    cells_free(cells);
    return NULL;
}

/* One given row, in the place of its step. */
typedef struct {
    int64_t cell, delta;
} Row;

/* A cell that the present step has touched. */
typedef struct {
    int64_t cell, address, before, value;
} Touched;

/* By cell: 1 + the last step that touched it, and where it stands among the touched. */
typedef struct {
    int32_t step, place;
} Mark;

typedef struct {
    View cell, step, delta, user, block, data;
    const LogRows *log; /* NULL: none */
    Py_ssize_t n, steps, users; /* users: for how many there is room in the table of blocks */
    int64_t used;
} Input;

typedef struct {
    Row *rows;              /* [n], by step */
    int32_t *start;         /* [steps + 1]: of the rows */
    Item *items;            /* [log->n], by step */
    int32_t *log_start;     /* [steps + 1] */
    Touched *touched;       /* [cells]: of one step */
    Mark *mark;             /* [cells] */
    Py_ssize_t count;       /* of the touched */
    int64_t used;
    bool fits, sound;       /* every number fits; every block is inside the data */
    List fresh;             /* places in the table of blocks that were filled now */
    List undo;              /* address, value before */
    List flips;             /* signal, step, holds */
    List settled;           /* cell * steps + step, value, value before the step */
} Work;

/* Where the rows of each step begin; false: a step is out of range. start: all zero, [steps + 2]. */
static bool counted(const int64_t *step, Py_ssize_t n, Py_ssize_t steps, int32_t *start) {
    for (Py_ssize_t i = 0; i < n; i++) {
        if ((uint64_t)step[i] >= (uint64_t)steps)
            return false;
        start[step[i] + 2]++; /* one too far: it moves on while rows are dealt out */
    }
    for (Py_ssize_t s = 0; s < steps; s++)
        start[s + 2] += start[s + 1];
    return true;
}

/* Deals all rows out to their steps. False: one of them is out of range. */
static bool deal(const Cells *cells, const Input *in, Work *work) {
    const int64_t *cell = in->cell.data, *step = in->step.data, *delta = in->delta.data, *user = in->user.data;
    bool inside = true;
    for (Py_ssize_t i = 0; i < in->n; i++)
        inside &= (uint64_t)cell[i] < (uint64_t)cells->cells;
    for (Py_ssize_t s = 0; s < in->steps; s++)
        inside &= (uint64_t)user[s] < (uint64_t)in->users;
    if (!inside || !counted(step, in->n, in->steps, work->start))
        return false;
    for (Py_ssize_t i = 0; i < in->n; i++)
        work->rows[work->start[step[i] + 1]++] = (Row){cell[i], delta[i]};
    if (in->log == NULL)
        return true;
    step = in->log->step.data;
    if (in->log->expansion->cells > cells->cells || !counted(step, in->log->n, in->steps, work->log_start))
        return false;
    for (Py_ssize_t i = 0; i < in->log->n; i++)
        work->items[work->log_start[step[i] + 1]++] = item_of(in->log, i);
    return true;
}

/* At most so much room will be needed for values: all families that users of the batch do not have yet. */
static int64_t needed(const Cells *cells, const Input *in) {
    const int64_t *user = in->user.data;
    const int32_t *block = in->block.data;
    int64_t used = in->used;
    for (Py_ssize_t s = 0; s < in->steps; s++) {
        if (s + FAR_AHEAD < in->steps) {
            const int32_t *later = block + user[s + FAR_AHEAD] * cells->families;
            __builtin_prefetch(later);
            __builtin_prefetch(later + cells->families - 1);
        }
        if (s == 0 || user[s] != user[s - 1])
            for (Py_ssize_t f = 0; f < cells->families; f++) /* which there are nobody foresees: no branch */
                used += cells->width[f] & -(int64_t)(block[user[s] * cells->families + f] < 0);
    }
    return used;
}

/* Where the cell's value is; its block is made if it does not exist yet. */
static inline int64_t address_of(const Cells *cells, Input *in, Work *work, int64_t cell, int64_t user) {
    int64_t family = cells->family[cell], width = cells->width[family];
    int32_t *block = (int32_t *)in->block.data + user * cells->families + family;
    if (*block < 0) {
        if (work->used > in->data.n - width) { /* as `needed` counts, only where users are not in order */
            work->sound = false;
            return 0;
        }
        list_push(&work->fresh, user * cells->families + family);
        memcpy((int64_t *)in->data.data + work->used, cells->template + cells->template_at[family],
               (size_t)width * sizeof(int64_t));
        *block = (int32_t)work->used; /* the caller gives no more room than this can name */
        work->used += width;
    } else if (*block > work->used - width) {
        work->sound = false;
        return 0;
    }
    return *block + cells->slot[cell];
}

static inline void add(const Cells *cells, Input *in, Work *work, Py_ssize_t step, int64_t cell, int64_t delta) {
    Mark *mark = &work->mark[cell];
    if (mark->step != (int32_t)(step + 1)) {
        int64_t address = address_of(cells, in, work, cell, ((const int64_t *)in->user.data)[step]);
        int64_t value = work->sound ? ((const int64_t *)in->data.data)[address] : 0;
        *mark = (Mark){(int32_t)(step + 1), (int32_t)work->count};
        work->touched[work->count++] = (Touched){cell, address, value, value};
    }
    int64_t *value = &work->touched[mark->place].value;
    work->fits &= !__builtin_add_overflow(*value, delta, value);
}

static inline void add_item(const Cells *cells, Input *in, Work *work, Py_ssize_t step, const Item *item) {
    for (int nth = 0; nth < stretches(item); nth++) {
        const TermEntry *end, *entry = stretch_of(in->log->expansion, item, nth, &end);
        for (; entry < end; entry++) {
            int64_t delta;
            if (entry->cell >= 0 && within(item, entry, nth) && weighed(in->log, item, entry, &delta, &work->fits))
                add(cells, in, work, step, entry->cell, delta);
        }
    }
}

/* Every threshold of the cell that lies between the two values. */
static inline void crossed(const Cells *cells, int64_t cell, int64_t step, int64_t before, int64_t now, List *flips) {
    const int64_t *bound = cells->bound;
    int64_t low = cells->first[cell], high = cells->first[cell + 1], end = high;
    if (low == high || before == now)
        return;
    int64_t from = before < now ? before : now, to = before < now ? now : before;
    while (low < high) { /* the first bound above the lower value */
        int64_t middle = (low + high) >> 1;
        if (bound[middle] <= from)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end && bound[low] <= to; low++)
        push_three(flips, cells->signal[low], step, now > before);
}

/* Stores what the step has made of the cells. */
static inline void settle(const Cells *cells, Input *in, Work *work, Py_ssize_t step, bool keep) {
    int64_t *data = in->data.data;
    for (Py_ssize_t t = 0; t < work->count; t++)
        work->fits &= work->touched[t].value > -SAFE && work->touched[t].value < SAFE;
    work->fits &= work->sound && list_reserve(&work->undo, 2 * (size_t)work->count);
    if (!work->fits)
        return;
    for (Py_ssize_t t = 0; t < work->count; t++) {
        const Touched *touched = &work->touched[t];
        int64_t *undo = work->undo.items + work->undo.n;
        undo[0] = touched->address, undo[1] = touched->before;
        work->undo.n += 2;
        data[touched->address] = touched->value;
        crossed(cells, touched->cell, step, touched->before, touched->value, &work->flips);
        if (keep)
            push_three(&work->settled, touched->cell * in->steps + step, touched->value, touched->before);
    }
}

/* Has a user's values of the cell's family brought near. */
static inline void bring(const Cells *cells, const Input *in, int64_t user, int64_t cell) {
    int64_t family = cells->family[cell], block = ((const int32_t *)in->block.data)[user * cells->families + family];
    const int64_t *values = (const int64_t *)in->data.data + (block < 0 ? 0 : block); /* without a branch */
    __builtin_prefetch(values, 1);
    __builtin_prefetch(values + cells->width[family] - 1, 1);
}

/* The same of what a later step is going to touch, as far as the first and the last cell of each row tell. */
static inline void bring_step(const Cells *cells, const Input *in, const Work *work, Py_ssize_t step) {
    int64_t user = ((const int64_t *)in->user.data)[step];
    for (int32_t i = in->log == NULL ? 0 : work->log_start[step]; in->log != NULL && i < work->log_start[step + 1]; i++)
        for (int nth = 0; nth < stretches(&work->items[i]); nth++) {
            const TermEntry *end, *entry = stretch_of(in->log->expansion, &work->items[i], nth, &end);
            if (entry < end && entry->cell >= 0)
                bring(cells, in, user, entry->cell);
            if (entry < end && end[-1].cell >= 0)
                bring(cells, in, user, end[-1].cell);
        }
    for (int32_t i = work->start[step]; i < work->start[step + 1]; i++)
        bring(cells, in, user, work->rows[i].cell);
}

/* Walks through the steps. If not everything fits, all is as it was before. */
static void walk(const Cells *cells, Input *in, Work *work, bool keep) {
    int64_t *data = in->data.data;
    for (Py_ssize_t s = 0; s < in->steps && work->fits && work->sound; s++) {
        if (s + AHEAD < in->steps)
            bring_step(cells, in, work, s + AHEAD);
        work->count = 0;
        if (in->log != NULL)
            for (int32_t i = work->log_start[s]; i < work->log_start[s + 1]; i++)
                add_item(cells, in, work, s, &work->items[i]);
        for (int32_t i = work->start[s]; i < work->start[s + 1]; i++)
            add(cells, in, work, s, work->rows[i].cell, work->rows[i].delta);
        settle(cells, in, work, s, keep);
    }
    if (work->fits && work->sound)
        return;
    for (size_t i = work->undo.n; i > 0; i -= 2)
        data[work->undo.items[i - 2]] = work->undo.items[i - 1];
    for (size_t i = 0; i < work->fresh.n; i++)
        ((int32_t *)in->block.data)[work->fresh.items[i]] = -1;
}

/* (key, value, before) in order of key; before: of the first step of the same cell and user. */
static PyObject *settled_out(const List *settled, const Input *in) {
    Py_ssize_t n = (Py_ssize_t)(settled->n / 3);
    int64_t *key, *value, *before;
    PyObject *keys = new_array(I64, n, (void **)&key), *values = new_array(I64, n, (void **)&value);
    PyObject *befores = new_array(I64, n, (void **)&before);
    Pair *room = malloc(2 * (size_t)(n ? n : 1) * sizeof *room);
    if (keys == NULL || values == NULL || befores == NULL || room == NULL) {
        if (room == NULL)
            PyErr_NoMemory();
        Py_XDECREF(keys), Py_XDECREF(values), Py_XDECREF(befores);
        free(room);
        return NULL;
    }
    const int64_t *items = settled->items, *user = in->user.data;
    for (Py_ssize_t i = 0; i < n; i++)
        room[i] = (Pair){(uint64_t)items[3 * i], (uint64_t)i};
    const Pair *sorted = sort_pairs(room, room + n, n);
    for (Py_ssize_t i = 0; i < n; i++) {
        const int64_t *item = items + 3 * sorted[i].item;
        key[i] = item[0];
        value[i] = item[1];
        bool same = i > 0 && key[i] / in->steps == key[i - 1] / in->steps &&
                    user[key[i] % in->steps] == user[key[i - 1] % in->steps];
        before[i] = same ? before[i - 1] : item[2];
    }
    free(room);
    return Py_BuildValue("NNN", keys, values, befores);
}

static bool work_ready(Work *work, const Cells *cells, const Input *in) {
    size_t count = (size_t)cells->cells + 1, steps = (size_t)in->steps + 2;
    work->rows = malloc(((size_t)in->n + 1) * sizeof *work->rows);
    work->start = calloc(steps, sizeof *work->start);
    work->items = malloc(((size_t)(in->log == NULL ? 0 : in->log->n) + 1) * sizeof *work->items);
    work->log_start = calloc(steps, sizeof *work->log_start);
    work->touched = malloc(count * sizeof *work->touched);
    work->mark = calloc(count, sizeof *work->mark);
    return work->rows && work->start && work->items && work->log_start && work->touched && work->mark;
}

static void work_free(Work *work) {
    free(work->rows), free(work->start), free(work->items), free(work->log_start);
    free(work->touched), free(work->mark);
    list_free(&work->fresh), list_free(&work->undo), list_free(&work->flips), list_free(&work->settled);
}

static PyObject *applied(const Cells *cells, Input *in, bool keep) {
    Work work = {.used = in->used, .fits = true, .sound = true};
    bool ready, valid = false;
    int64_t most = 0;
    Py_BEGIN_ALLOW_THREADS
    ready = work_ready(&work, cells, in);
    if (ready && (valid = deal(cells, in, &work)) && (most = needed(cells, in)) <= in->data.n)
        walk(cells, in, &work, keep);
    Py_END_ALLOW_THREADS
    PyObject *out = NULL;
    if (!ready || work.fresh.failed || work.undo.failed || work.flips.failed || work.settled.failed)
        PyErr_NoMemory();
    else if (!valid || !work.sound)
        PyErr_SetString(PyExc_ValueError, "a cell, step, user or block is out of range");
    else if (most > in->data.n)
        out = PyLong_FromLongLong(most);
    else if (!work.fits)
        out = Py_NewRef(Py_None);
    else {
        PyObject *flips = flips_out(&work.flips);
        PyObject *settled = flips == NULL ? NULL : keep ? settled_out(&work.settled, in) : Py_NewRef(Py_None);
        out = settled == NULL ? NULL : Py_BuildValue("LOO", (long long)work.used, flips, settled);
        Py_XDECREF(flips), Py_XDECREF(settled);
    }
    work_free(&work);
    return out;
}

static bool in_taken(const Cells *cells, Input *in, PyObject *const *arrays) {
    if (!view_of(arrays[0], I64, false, "cell", &in->cell) ||
        !view_of_length(arrays[1], I64, false, in->cell.n, "step", &in->step) ||
        !view_of_length(arrays[2], I64, false, in->cell.n, "delta", &in->delta) ||
        !view_of(arrays[3], I64, false, "user", &in->user) || !view_of(arrays[4], I32, true, "block", &in->block) ||
        !view_of(arrays[5], I64, true, "data", &in->data))
        return false;
    in->n = in->cell.n, in->steps = in->user.n;
    in->users = cells->families ? in->block.n / cells->families : 0;
    Py_ssize_t most = in->log == NULL || in->log->n < in->n ? in->n : in->log->n;
    if (in->used < 0 || in->used > in->data.n || in->users * cells->families != in->block.n || most >= INT32_MAX ||
        in->steps >= INT32_MAX - 2 || cells->cells >= INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "used, block: not of these cells");
        return false;
    }
    return true;
}

static PyObject *cells_apply(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *log, *arrays[6];
    long long used;
    int keep;
    if (!PyArg_ParseTuple(args, "OOOOOOOOLp", &capsule, &log, &arrays[0], &arrays[1], &arrays[2], &arrays[3],
                          &arrays[4], &arrays[5], &used, &keep))
        return NULL;
    const Cells *cells = PyCapsule_GetPointer(capsule, CAPSULE);
    if (cells == NULL)
        return NULL;
    LogRows *rows = calloc(1, sizeof *rows);
    if (rows == NULL)
        return PyErr_NoMemory();
    Input in = {.used = used, .log = log == Py_None ? NULL : rows};
    PyObject *out = NULL;
    if ((in.log == NULL || log_rows_of(log, rows)) && in_taken(cells, &in, arrays))
        out = applied(cells, &in, keep);
    View *views[] = {&in.cell, &in.step, &in.delta, &in.user, &in.block, &in.data};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        view_release(views[i]);
    log_rows_release(rows);
    free(rows);
    return out;
}

PyMethodDef cells_methods[] = {
    {"cells", cells_made, METH_VARARGS, NULL},
    {"cells_apply", cells_apply, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
