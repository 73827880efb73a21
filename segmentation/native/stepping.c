/* When events become known, the steps of a batch, and what is due: see segmentation/evaluate/arrivals.py, steps.py and
due.py. */
#include "stepping.h"
#include "sorting.h"

/* So many rows ahead what is kept of their users is asked for: with many users each is a wait for memory. */
#define AHEAD 32
/* As in segmentation/types.py: before all instants. */
#define NEVER (-(INT64_C(1) << 62))

static PyObject *known_at(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *users, *times, *watermarks, *newests, *out = NULL;
    View user = {0}, time = {0}, watermark = {0}, newest = {0};
    if (!PyArg_ParseTuple(args, "OOOO", &users, &times, &watermarks, &newests))
        return NULL;
    int64_t *known;
    if (view_of(users, I64, false, "user", &user) && view_of_length(times, I64, false, user.n, "time", &time) &&
        view_of_length(watermarks, I64, false, user.n, "watermark", &watermark) &&
        view_of(newests, I64, true, "newest", &newest) &&
        (out = new_array(I64, user.n, (void **)&known)) != NULL) {
        const int64_t *who = user.data, *when = time.data, *least = watermark.data;
        int64_t *best = newest.data;
        bool inside = true;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < user.n; i++)
            inside &= (uint64_t)who[i] < (uint64_t)newest.n;
        for (Py_ssize_t i = 0; inside && i < user.n; i++) {
            if (i + AHEAD < user.n)
                __builtin_prefetch(&best[who[i + AHEAD]], 1);
            int64_t *mine = &best[who[i]];
            *mine = when[i] > *mine ? when[i] : *mine;
            known[i] = *mine > least[i] ? *mine : least[i];
        }
        Py_END_ALLOW_THREADS
        if (!inside) {
            PyErr_SetString(PyExc_ValueError, "user: out of range");
            Py_CLEAR(out);
        }
    }
    view_release(&user), view_release(&time), view_release(&watermark), view_release(&newest);
    return out;
}

typedef struct {
    View change_user, change_at, event_user, event_at;
    Pair *pairs, *spare;
    int64_t *user, *instant, *of_change, *of_event;
    uint8_t *by_event;
    Py_ssize_t m, n, steps;
    int64_t low; /* the earliest instant */
    int bits;    /* that an instant takes from there on; the user is above them */
} Steps;

static inline int64_t user_of(const Steps *s, Py_ssize_t i) {
    return i < s->m ? ((const int64_t *)s->change_user.data)[i] : ((const int64_t *)s->event_user.data)[i - s->m];
}

static inline int64_t at_of(const Steps *s, Py_ssize_t i) {
    return i < s->m ? ((const int64_t *)s->change_at.data)[i] : ((const int64_t *)s->event_at.data)[i - s->m];
}

/* Sorted by user and instant, changes before events. False: they do not fit into one key. */
static bool sorted_keys(Steps *s) {
    Py_ssize_t every = s->m + s->n;
    int64_t low = every ? at_of(s, 0) : 0, high = low, most = 0;
    for (Py_ssize_t i = 0; i < every; i++) {
        int64_t at = at_of(s, i), user = user_of(s, i);
        low = at < low ? at : low;
        high = at > high ? at : high;
        if (user < 0)
            return false;
        most = user > most ? user : most;
    }
    uint64_t span = (uint64_t)high - (uint64_t)low;
    int bits = 0, wide = 0;
    while (bits < 64 && span >> bits)
        bits++;
    while (most >> wide)
        wide++;
    if (bits + wide > 63)
        return false;
    s->low = low, s->bits = bits;
    for (Py_ssize_t i = 0; i < every; i++)
        s->pairs[i] = (Pair){(uint64_t)user_of(s, i) << bits | ((uint64_t)at_of(s, i) - (uint64_t)low), (uint64_t)i};
    s->pairs = sort_pairs(s->pairs, s->spare, every);
    return true;
}

/* One step for each (user, instant) of changes, which the first event there joins; one for each further event. The
arrays have room for a step per row. */
static void number(Steps *s) {
    uint64_t mask = ((uint64_t)1 << s->bits) - 1;
    s->steps = 0;
    for (Py_ssize_t i = 0; i < s->m + s->n; i++) {
        const Pair *pair = &s->pairs[i];
        Py_ssize_t row = (Py_ssize_t)pair->item;
        bool joins = i > 0 && pair->key == pair[-1].key && (Py_ssize_t)pair[-1].item < s->m;
        if (!joins) {
            s->user[s->steps] = (int64_t)(pair->key >> s->bits);
            s->instant[s->steps] = (int64_t)((uint64_t)s->low + (pair->key & mask));
            s->by_event[s->steps++] = 0;
        }
        s->by_event[s->steps - 1] |= row >= s->m;
        *(row < s->m ? &s->of_change[row] : &s->of_event[row - s->m]) = s->steps - 1;
    }
}

/* The first `steps` items of an array. */
static PyObject *cut(PyObject *array, Py_ssize_t steps) {
    if (array == NULL)
        return NULL;
    PyObject *out = PySequence_GetSlice(array, 0, steps);
    Py_DECREF(array);
    return out;
}

static PyObject *stepped(Steps *s) {
    Py_ssize_t every = s->m + s->n;
    PyObject *user = new_array(I64, every, (void **)&s->user), *instant = new_array(I64, every, (void **)&s->instant);
    PyObject *by_event = new_array(BOOL, every, (void **)&s->by_event);
    PyObject *of_change = new_array(I64, s->m, (void **)&s->of_change);
    PyObject *of_event = new_array(I64, s->n, (void **)&s->of_event), *out = NULL;
    Pair *room = malloc(2 * ((size_t)every + 1) * sizeof *room);
    if (room == NULL)
        PyErr_NoMemory();
    else if (user && instant && by_event && of_change && of_event) {
        bool fits;
        Py_BEGIN_ALLOW_THREADS
        s->pairs = room, s->spare = room + every;
        if ((fits = sorted_keys(s)))
            number(s);
        Py_END_ALLOW_THREADS
        if (fits) {
            user = cut(user, s->steps), instant = cut(instant, s->steps), by_event = cut(by_event, s->steps);
            if (user && instant && by_event)
                out = PyTuple_Pack(5, user, instant, by_event, of_change, of_event);
        } else
            out = Py_NewRef(Py_None);
    }
    free(room);
    Py_XDECREF(user), Py_XDECREF(instant), Py_XDECREF(by_event), Py_XDECREF(of_change), Py_XDECREF(of_event);
    return out;
}

static PyObject *steps_of(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *change_user, *change_at, *event_user, *event_at, *out = NULL;
    if (!PyArg_ParseTuple(args, "OOOO", &change_user, &change_at, &event_user, &event_at))
        return NULL;
    Steps s = {0};
    if (view_of(change_user, I64, false, "change_user", &s.change_user) &&
        view_of_length(change_at, I64, false, s.change_user.n, "change_at", &s.change_at) &&
        view_of(event_user, I64, false, "event_user", &s.event_user) &&
        view_of_length(event_at, I64, false, s.event_user.n, "event_at", &s.event_at)) {
        s.m = s.change_user.n, s.n = s.event_user.n;
        out = stepped(&s);
    }
    view_release(&s.change_user), view_release(&s.change_at), view_release(&s.event_user), view_release(&s.event_at);
    return out;
}

/* See segmentation/evaluate/due.py. */
static PyObject *due_rows(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *ats, *knowns, *users, *applieds, *reacheds, *out = NULL;
    long long watermark, since;
    View at = {0}, known = {0}, user = {0}, applied = {0}, reached = {0};
    if (!PyArg_ParseTuple(args, "OOOOOLL", &ats, &knowns, &users, &applieds, &reacheds, &watermark, &since))
        return NULL;
    int64_t *place;
    Py_ssize_t found = 0;
    if (view_of(ats, I64, false, "at", &at) && view_of_length(knowns, I64, false, at.n, "known", &known) &&
        view_of_length(users, I32, false, at.n, "user", &user) && view_of(applieds, I64, false, "applied", &applied) &&
        view_of_length(reacheds, I64, false, applied.n, "reached", &reached) &&
        (out = new_array(I64, at.n, (void **)&place)) != NULL) {
        const int64_t *when = at.data, *least = known.data, *done = applied.data, *last = reached.data;
        const int32_t *who = user.data;
        bool inside = true;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < at.n; i++) {
            if (who[i] < 0 || who[i] >= applied.n) {
                inside = false;
                break;
            }
            if (i + AHEAD < at.n) /* of one beyond the end nothing is read */
                __builtin_prefetch((const char *)done + (uintptr_t)(uint32_t)who[i + AHEAD] * sizeof *done);
            place[found] = i;
            found += when[i] > least[i] && when[i] > done[who[i]] && when[i] >= since &&
                     (when[i] < watermark || when[i] <= last[who[i]]);
        }
        Py_END_ALLOW_THREADS
        if (inside)
            out = cut(out, found);
        else {
            PyErr_SetString(PyExc_ValueError, "user: out of range");
            Py_CLEAR(out);
        }
    }
    view_release(&at), view_release(&known), view_release(&user), view_release(&applied), view_release(&reached);
    return out;
}

/* What both functions below get: users, and by user up to where they were moved and are to be moved. */
typedef struct {
    View user, applied, reached;
    bool inside;
} Moved;

static bool moved_taken(PyObject *users, PyObject *applied, PyObject *reached, Moved *m) {
    if (!view_of(users, I64, false, "user", &m->user) || !view_of(applied, I64, true, "applied", &m->applied) ||
        !view_of_length(reached, I64, true, m->applied.n, "reached", &m->reached))
        return false;
    const int64_t *who = m->user.data;
    m->inside = true;
    for (Py_ssize_t i = 0; i < m->user.n; i++)
        m->inside &= (uint64_t)who[i] < (uint64_t)m->applied.n;
    if (!m->inside)
        PyErr_SetString(PyExc_ValueError, "user: out of range");
    return m->inside;
}

static void moved_release(Moved *m) {
    view_release(&m->user), view_release(&m->applied), view_release(&m->reached);
}

static PyObject *reach(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *users, *knowns, *applied, *reached, *out = NULL;
    Moved m = {0};
    View known = {0};
    uint8_t *fresh;
    if (!PyArg_ParseTuple(args, "OOOO", &users, &knowns, &applied, &reached))
        return NULL;
    if (moved_taken(users, applied, reached, &m) && view_of_length(knowns, I64, false, m.user.n, "known", &known) &&
        (out = new_array(BOOL, m.user.n, (void **)&fresh)) != NULL) {
        const int64_t *who = m.user.data, *at = known.data, *done = m.applied.data;
        int64_t *last = m.reached.data;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < m.user.n; i++) {
            if (i + AHEAD < m.user.n) {
                __builtin_prefetch(&done[who[i + AHEAD]], 1);
                __builtin_prefetch(&last[who[i + AHEAD]], 1);
            }
            fresh[i] = done[who[i]] == NEVER;
            last[who[i]] = at[i] > last[who[i]] ? at[i] : last[who[i]];
        }
        Py_END_ALLOW_THREADS
    }
    moved_release(&m), view_release(&known);
    return out;
}

static PyObject *move_up(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *users, *applied, *reached, *out = NULL;
    Moved m = {0};
    if (!PyArg_ParseTuple(args, "OOO", &users, &applied, &reached))
        return NULL;
    if (moved_taken(users, applied, reached, &m)) {
        const int64_t *who = m.user.data;
        int64_t *done = m.applied.data, *last = m.reached.data;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < m.user.n; i++) {
            if (i + AHEAD < m.user.n) {
                __builtin_prefetch(&done[who[i + AHEAD]], 1);
                __builtin_prefetch(&last[who[i + AHEAD]], 1);
            }
            int64_t *mine = &done[who[i]], *to = &last[who[i]];
            *mine = *to > *mine ? *to : *mine;
            *to = NEVER;
        }
        Py_END_ALLOW_THREADS
        out = Py_NewRef(Py_None);
    }
    moved_release(&m);
    return out;
}

PyMethodDef stepping_methods[] = {
    {"due_rows", due_rows, METH_VARARGS, NULL},
    {"known_at", known_at, METH_VARARGS, NULL},
    {"move_up", move_up, METH_VARARGS, NULL},
    {"reach", reach, METH_VARARGS, NULL},
    {"steps_of", steps_of, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
