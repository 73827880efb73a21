/* Flips of signals in, flips of segments out: all gates of all levels in one walk through the steps.

A gate's value is the number of its inputs that hold. Within a step a gate settles after everything below it has: each
level has a list of the gates that were touched, and levels are gone through upwards. */
#include "gates.h"

#define CAPSULE "tidegate.gates"
/* Steps ahead of the present one whose memory is asked for: with many users each is a wait of its own. */
#define AHEAD 16

/* What does not change: made once per plan, owns its arrays. */
typedef struct {
    Py_ssize_t signals, gates, levels, segments;
    int64_t *level, *need, *signal, *start; /* [gates]; level from 1; need: the value from which it holds; start: its
                                               value for a user without anything */
    int64_t *first, *gate, *sign;           /* [signals + 1], [inputs]: the gates that a signal goes into */
    int64_t *root, *segment, *root_sign;    /* [signals + 1], [roots]: the segments that it is the root of */
} Gates;

typedef struct {
    View signal, step, holds, user, block, data;
    Py_ssize_t n, steps, users, wide; /* wide: bytes of a value, 2 or 4 */
    int64_t used;
} Input;

typedef struct {
    const Gates *gates;
    Input *in;
    Py_ssize_t *start; /* [steps + 1] */
    int64_t *order;    /* [n]: signal * 2 + holds, by step */
    bool *queued;      /* [gates]: touched in this step, not settled */
    int64_t *change;   /* [gates] */
    List *waiting;     /* [levels + 1]: gates to settle */
    List fresh;        /* users whose block was made now */
    List found;        /* of one step: segment, how many came before, entered; in 31, 32 and 1 bits */
    List flips;        /* segment, step, entered */
} Work;

static void gates_free(Gates *gates) {
    int64_t **all[] = {&gates->level, &gates->need, &gates->signal, &gates->start, &gates->first,
                       &gates->gate,  &gates->sign, &gates->root,   &gates->segment, &gates->root_sign};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(*all[i]);
    free(gates);
}

static void capsule_free(PyObject *capsule) {
    Gates *gates = PyCapsule_GetPointer(capsule, CAPSULE);
    if (gates != NULL)
        gates_free(gates);
}

/* Does [first] cut n entries into stretches, and is every target below `targets`? */
static bool lists_valid(const int64_t *first, Py_ssize_t lists, const int64_t *target, Py_ssize_t n, int64_t targets) {
    for (Py_ssize_t i = 0; i < lists; i++)
        if (first[i + 1] < first[i])
            return false;
    for (Py_ssize_t i = 0; i < n; i++)
        if (target[i] < 0 || target[i] >= targets)
            return false;
    return first[0] == 0 && first[lists] == n;
}

static bool gates_valid(Gates *gates, Py_ssize_t inputs, Py_ssize_t roots) {
    if (!lists_valid(gates->first, gates->signals, gates->gate, inputs, gates->gates) ||
        !lists_valid(gates->root, gates->signals, gates->segment, roots, gates->segments))
        return false;
    int64_t *own = calloc((size_t)gates->signals + 1, sizeof *own); /* the level of each signal */
    bool valid = own != NULL;
    for (Py_ssize_t g = 0; valid && g < gates->gates; g++) {
        valid = gates->level[g] >= 1 && gates->level[g] <= gates->gates && gates->signal[g] >= 0 &&
                gates->signal[g] < gates->signals;
        if (valid)
            own[gates->signal[g]] = gates->level[g];
        gates->levels = gates->level[g] > gates->levels ? gates->level[g] : gates->levels;
    }
    for (Py_ssize_t s = 0; valid && s < gates->signals; s++) /* whatever goes into a gate is below it */
        for (int64_t i = gates->first[s]; valid && i < gates->first[s + 1]; i++)
            valid = gates->level[gates->gate[i]] > own[s];
    free(own);
    return valid;
}

static PyObject *gates_made(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *level, *need, *signal, *start, *first, *gate, *sign, *root, *segment, *root_sign;
    long segments;
    if (!PyArg_ParseTuple(args, "OOOOOOOOOOl", &level, &need, &signal, &start, &first, &gate, &sign, &root, &segment,
                          &root_sign, &segments))
        return NULL;
    Gates *gates = calloc(1, sizeof *gates);
    if (gates == NULL)
        return PyErr_NoMemory();
    Py_ssize_t inputs, roots, edges;
    gates->segments = segments < INT32_MAX ? segments : 0;
    if (!copy_of(level, -1, "level", &gates->level, &gates->gates) ||
        !copy_of(need, gates->gates, "need", &gates->need, NULL) ||
        !copy_of(signal, gates->gates, "signal", &gates->signal, NULL) ||
        !copy_of(start, gates->gates, "start", &gates->start, NULL) ||
        !copy_of(first, -1, "first", &gates->first, &edges) || !copy_of(gate, -1, "gate", &gates->gate, &inputs) ||
        !copy_of(sign, inputs, "sign", &gates->sign, NULL) || !copy_of(root, edges, "root", &gates->root, NULL) ||
        !copy_of(segment, -1, "segment", &gates->segment, &roots) ||
        !copy_of(root_sign, roots, "root_sign", &gates->root_sign, NULL))
        goto failed;
    gates->signals = edges - 1;
    if (edges < 1 || !gates_valid(gates, inputs, roots)) {
        PyErr_SetString(PyExc_ValueError, "gates: levels, inputs or roots that do not belong together");
        goto failed;
    }
    PyObject *capsule = PyCapsule_New(gates, CAPSULE, capsule_free);
    if (capsule != NULL)
        return capsule;
failed:
    gates_free(gates);
    return NULL;
}

static bool deal(Work *work) {
    const Input *in = work->in;
    const int64_t *signal = in->signal.data, *step = in->step.data, *user = in->user.data;
    const uint8_t *holds = in->holds.data;
    for (Py_ssize_t i = 0; i < in->n; i++) {
        if ((uint64_t)signal[i] >= (uint64_t)work->gates->signals || (uint64_t)step[i] >= (uint64_t)in->steps ||
            (uint64_t)user[step[i]] >= (uint64_t)in->users)
            return false;
        work->start[step[i] + 1]++;
    }
    for (Py_ssize_t s = 0; s < in->steps; s++)
        work->start[s + 1] += work->start[s];
    for (Py_ssize_t i = 0; i < in->n; i++)
        work->order[work->start[step[i]]++] = 2 * signal[i] + (holds[i] != 0);
    memmove(work->start + 1, work->start, (size_t)in->steps * sizeof *work->start);
    work->start[0] = 0;
    return true;
}

/* Makes the blocks of users whose gates are touched for the first time. The room that is needed, -1: out of range. */
static int64_t place(Work *work) {
    const Gates *gates = work->gates;
    Input *in = work->in;
    int32_t *block = in->block.data;
    int64_t used = in->used;
    const int64_t *user = in->user.data;
    for (Py_ssize_t s = 0; s < in->steps; s++) {
        if (s + AHEAD < in->steps && work->start[s + AHEAD] != work->start[s + AHEAD + 1])
            __builtin_prefetch(&block[user[s + AHEAD]], 1);
        if (work->start[s] == work->start[s + 1])
            continue;
        int32_t *mine = &block[user[s]];
        bool needed = false;
        for (Py_ssize_t i = work->start[s]; !needed && i < work->start[s + 1]; i++) {
            int64_t signal = work->order[i] >> 1;
            needed = gates->first[signal] < gates->first[signal + 1];
        }
        if (needed && *mine < 0) {
            list_push(&work->fresh, user[s]);
            if (work->fresh.failed)
                break;
            *mine = (int32_t)used; /* beyond the room, which this can name, it is taken back */
            used += gates->gates;
        } else if (*mine >= 0 && *mine > used - gates->gates) {
            used = -1;
            break;
        }
    }
    bool fits = used >= 0 && !work->fresh.failed && used <= in->data.n;
    for (size_t i = 0; i < work->fresh.n; i++) {
        int32_t *mine = &block[work->fresh.items[i]];
        for (Py_ssize_t g = 0; fits && g < gates->gates; g++) {
            if (in->wide == 2)
                ((int16_t *)in->data.data)[*mine + g] = (int16_t)gates->start[g];
            else
                ((int32_t *)in->data.data)[*mine + g] = (int32_t)gates->start[g];
        }
        if (!fits)
            *mine = -1;
    }
    return used;
}

/* A signal has turned: what it goes into hears of it. */
static inline void tell(Work *work, int64_t signal, bool holds) {
    const Gates *gates = work->gates;
    for (int64_t i = gates->first[signal]; i < gates->first[signal + 1]; i++) {
        int64_t gate = gates->gate[i];
        if (!work->queued[gate]) {
            work->queued[gate] = true;
            work->change[gate] = 0;
            list_push(&work->waiting[gates->level[gate]], gate);
        }
        work->change[gate] += holds ? gates->sign[i] : -gates->sign[i];
    }
    for (int64_t i = gates->root[signal]; i < gates->root[signal + 1]; i++)
        list_push(&work->found, gates->segment[i] << 32 | (int64_t)work->found.n << 1 |
                                    (holds == (gates->root_sign[i] > 0)));
}

static inline void settle(Work *work, int64_t gate, int64_t address) {
    const Gates *gates = work->gates;
    int64_t before, now;
    if (work->in->wide == 2) {
        int16_t *value = (int16_t *)work->in->data.data + address;
        before = *value, now = before + work->change[gate];
        *value = (int16_t)now;
    } else {
        int32_t *value = (int32_t *)work->in->data.data + address;
        before = *value, now = before + work->change[gate];
        *value = (int32_t)now;
    }
    work->queued[gate] = false;
    if ((before >= gates->need[gate]) != (now >= gates->need[gate]))
        tell(work, gates->signal[gate], now >= gates->need[gate]);
}

/* Has the values of a later step's user brought near. */
static inline void bring(const Work *work, Py_ssize_t step) {
    int64_t block = ((const int32_t *)work->in->block.data)[((const int64_t *)work->in->user.data)[step]];
    const char *values = (const char *)work->in->data.data + (block < 0 ? 0 : block) * work->in->wide;
    const char *end = values + work->gates->gates * work->in->wide;
    for (int line = 0; line < 4 && values < end; line++, values += 64)
        __builtin_prefetch(values, 1);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void walk(Work *work) {
    const Gates *gates = work->gates;
    const int32_t *block = work->in->block.data;
    const int64_t *user = work->in->user.data;
    for (Py_ssize_t s = 0; s < work->in->steps; s++) {
        if (s + AHEAD < work->in->steps && work->start[s + AHEAD] != work->start[s + AHEAD + 1])
            bring(work, s + AHEAD);
        if (work->start[s] == work->start[s + 1])
            continue;
        work->found.n = 0;
        for (Py_ssize_t i = work->start[s]; i < work->start[s + 1]; i++)
            tell(work, work->order[i] >> 1, work->order[i] & 1);
        for (Py_ssize_t level = 1; level <= gates->levels; level++) {
            List *waiting = &work->waiting[level];
            for (size_t i = 0; i < waiting->n; i++)
                settle(work, waiting->items[i], block[user[s]] + waiting->items[i]);
            waiting->n = 0;
        }
        List *found = &work->found;
        if (found->n > 1)
            qsort(found->items, found->n, sizeof *found->items, ascending);
        for (size_t i = 0; i < found->n; i++) {
            list_push(&work->flips, found->items[i] >> 32);
            list_push(&work->flips, s);
            list_push(&work->flips, found->items[i] & 1);
        }
    }
}

static bool work_ready(Work *work) {
    size_t gates = (size_t)work->gates->gates + 1;
    work->start = calloc((size_t)work->in->steps + 2, sizeof *work->start);
    work->order = malloc(((size_t)work->in->n + 1) * sizeof *work->order);
    work->queued = calloc(gates, sizeof *work->queued);
    work->change = malloc(gates * sizeof *work->change);
    work->waiting = calloc((size_t)work->gates->levels + 1, sizeof *work->waiting);
    return work->start && work->order && work->queued && work->change && work->waiting;
}

static bool work_free(Work *work) {
    bool failed = work->fresh.failed || work->found.failed || work->flips.failed;
    for (Py_ssize_t level = 0; work->waiting != NULL && level <= work->gates->levels; level++) {
        failed |= work->waiting[level].failed;
        list_free(&work->waiting[level]);
    }
    free(work->start), free(work->order), free(work->queued), free(work->change), free(work->waiting);
    list_free(&work->fresh), list_free(&work->found);
    return !failed;
}

static PyObject *applied(const Gates *gates, Input *in) {
    Work work = {.gates = gates, .in = in};
    int64_t used = 0;
    bool ready, valid = false;
    Py_BEGIN_ALLOW_THREADS
    ready = work_ready(&work);
    if (ready && (valid = deal(&work))) {
        used = place(&work);
        if (used >= 0 && used <= in->data.n && !work.fresh.failed)
            walk(&work);
    }
    ready &= work_free(&work);
    Py_END_ALLOW_THREADS
    PyObject *out = NULL;
    if (!ready)
        PyErr_NoMemory();
    else if (!valid || used < 0)
        PyErr_SetString(PyExc_ValueError, "a signal, step, user or block is out of range");
    else if (used > in->data.n)
        out = PyLong_FromLongLong(used);
    else {
        PyObject *flips = flips_out(&work.flips);
        out = flips == NULL ? NULL : Py_BuildValue("LN", (long long)used, flips);
    }
    list_free(&work.flips);
    return out;
}

static PyObject *gates_apply(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *signal, *step, *holds, *user, *block, *data;
    long long used;
    if (!PyArg_ParseTuple(args, "OOOOOOOL", &capsule, &signal, &step, &holds, &user, &block, &data, &used))
        return NULL;
    const Gates *gates = PyCapsule_GetPointer(capsule, CAPSULE);
    if (gates == NULL)
        return NULL;
    Input in = {.used = used, .wide = 2};
    PyObject *out = NULL;
    if (view_of(signal, I64, false, "signal", &in.signal) &&
        view_of_length(step, I64, false, in.signal.n, "step", &in.step) &&
        view_of_length(holds, BOOL, false, in.signal.n, "holds", &in.holds) &&
        view_of(user, I64, false, "user", &in.user) && view_of(block, I32, true, "block", &in.block)) {
        if (!view_of(data, I16, true, "data", &in.data)) {
            PyErr_Clear();
            in.wide = 4;
        }
        if (in.wide == 2 || view_of(data, I32, true, "data", &in.data)) {
            in.n = in.signal.n, in.steps = in.user.n, in.users = in.block.n;
            if (used < 0 || used > in.data.n)
                PyErr_SetString(PyExc_ValueError, "used: not of this data");
            else
                out = applied(gates, &in);
        }
    }
    View *views[] = {&in.signal, &in.step, &in.holds, &in.user, &in.block, &in.data};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
        view_release(views[i]);
    return out;
}

PyMethodDef gates_methods[] = {
    {"gates", gates_made, METH_VARARGS, NULL},
    {"gates_apply", gates_apply, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
