/* See decoding.h. */
#include "decoding.h"

#include "arrays.h"
#include "shape.h"
#include "texts.h"
#include "values.h"

#define MESSAGE_BYTES_MAX (1 << 20)
#define ID_BYTES_MAX 512
#define CAPSULE "tidegate.message_shape"
#define AHEAD 6 /* messages to fetch into the cache before they are read */

/* In the order of segmentation.events.quick. */
typedef enum { TEXT, USER, EVENT_ID, BIGINT, NUMERIC, DOUBLE, BOOLEAN, TIME, LAST_TYPE = TIME } Type;

typedef struct {
    int type, span; /* span -1: an event id that is given */
    int required, empty_as_null, precision, scale, zone;
    size_t expected; /* distinct texts of the call before */
} Column;

typedef struct {
    Shape shape;
    Column *columns;
    Py_ssize_t count;
} Decoder;

/* A column's place in one call. */
typedef struct {
    View data, valid, local;
    Py_buffer objects;
    bool objects_taken, nulls;
    Texts texts;
} Filling;

typedef enum { DONE, NOT_MINE, FAILED } Outcome;

static void decoder_free(PyObject *capsule) {
    Decoder *decoder = PyCapsule_GetPointer(capsule, CAPSULE);
    shape_free(&decoder->shape);
    free(decoder->columns);
    free(decoder);
}

static PyObject *message_shape(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *nodes, *columns;
    int spans;
    if (!PyArg_ParseTuple(args, "OiO!:message_shape", &nodes, &spans, &PyTuple_Type, &columns))
        return NULL;
    Decoder *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(decoder, CAPSULE, decoder_free);
    if (capsule == NULL) {
        free(decoder);
        return NULL;
    }
    if (!shape_init(&decoder->shape, nodes, spans))
        goto failed;
    decoder->count = PyTuple_GET_SIZE(columns);
    decoder->columns = calloc((size_t)decoder->count + 1, sizeof *decoder->columns);
    if (decoder->columns == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < decoder->count; i++) {
        Column *c = &decoder->columns[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(columns, i), "iippiii", &c->type, &c->span, &c->required,
                              &c->empty_as_null, &c->precision, &c->scale, &c->zone))
            goto failed;
        if (c->type < 0 || c->type > LAST_TYPE || c->span >= spans || c->span < (c->type == EVENT_ID ? -1 : 0) ||
            c->precision < 0 || c->precision > 18 || c->scale < 0 || c->scale > c->precision || c->zone < 0 ||
            c->zone > ZONE_LATER) {
            PyErr_SetString(PyExc_ValueError, "columns: out of range");
            goto failed;
        }
    }
    return capsule;
failed:
    Py_DECREF(capsule);
    return NULL;
}

/* The bytes of a string without its escapes, in `at` and `length`; `scratch` is the caller's to free. */
static bool plain(const Span *span, unsigned char **scratch, Text *at, size_t *length) {
    *at = span->at, *length = (size_t)(span->end - span->at);
    if (!(span->flags & ESCAPED))
        return true;
    unsigned char *room = realloc(*scratch, *length + 1);
    if (room == NULL) {
        PyErr_NoMemory();
        return false;
    }
    *scratch = room, *at = room;
    *length = json_unescaped(span->at, span->end, room);
    return true;
}

/* Puts an object into a row of an array of objects. */
static void put_object(Filling *filling, Py_ssize_t row, PyObject *object) {
    PyObject **place = (PyObject **)filling->objects.buf + row, *before = *place;
    *place = object;
    Py_XDECREF(before); /* None, of a new array */
}

/* A message's own id, or `given` where it has none. */
static Outcome read_text(const Column *column, Filling *filling, const Span *span, Py_ssize_t row, PyObject *given,
                         unsigned char **scratch) {
    bool id = column->type != TEXT;
    Text at;
    size_t length;
    if (span == NULL || span->kind == 'n') {
        if (column->type == EVENT_ID) {
            if (given == NULL || !PyUnicode_CheckExact(given) || PyUnicode_GET_LENGTH(given) == 0 ||
                PyUnicode_GET_LENGTH(given) > ID_BYTES_MAX / 4) /* a character has at most four bytes */
                return NOT_MINE;
            put_object(filling, row, Py_NewRef(given));
            return DONE;
        }
        ((int32_t *)filling->data.data)[row] = -1;
        return column->required ? NOT_MINE : DONE;
    }
    if (span->kind != '"' || (span->flags & HAS_NUL))
        return NOT_MINE;
    if (!plain(span, scratch, &at, &length))
        return FAILED;
    if (id && (length == 0 || length > ID_BYTES_MAX))
        return NOT_MINE;
    bool ascii = span->flags == 0;
    if (column->type == EVENT_ID) {
        PyObject *text = text_object(at, length, ascii);
        if (text == NULL)
            return FAILED;
        put_object(filling, row, text);
        return DONE;
    }
    int32_t code = -1;
    if (length != 0 || !column->empty_as_null) {
        code = texts_code(&filling->texts, at, length, ascii, (span->flags & ESCAPED) != 0);
        if (code < 0)
            return FAILED;
    }
    ((int32_t *)filling->data.data)[row] = code;
    return DONE;
}

/* The nearest double of a number that double_of leaves. */
static bool any_double(const Span *span, double *out) {
    char text[64];
    size_t length = (size_t)(span->end - span->at);
    if (length >= sizeof text)
        return false;
    memcpy(text, span->at, length);
    text[length] = '\0';
    char *end;
    *out = PyOS_string_to_double(text, &end, NULL) + 0.0;
    if (PyErr_Occurred() || end != text + length) {
        PyErr_Clear();
        return false;
    }
    return *out - *out == 0; /* neither infinite nor NaN */
}

static Outcome read_value(const Column *column, Filling *filling, const Span *span, Py_ssize_t row) {
    bool quoted = span != NULL && span->kind == '"';
    if (span == NULL || span->kind == 'n' || (quoted && span->at == span->end && column->empty_as_null)) {
        filling->nulls = true;
        ((char *)filling->valid.data)[row] = 0;
        return column->required ? NOT_MINE : DONE;
    }
    ((char *)filling->valid.data)[row] = 1;
    if (column->type == BOOLEAN) {
        ((char *)filling->data.data)[row] = span->kind == 't';
        return span->kind == 't' || span->kind == 'f' ? DONE : NOT_MINE;
    }
    int64_t *whole = (int64_t *)filling->data.data + row;
    if (column->type == TIME) {
        bool local = false;
        if (!quoted || span->flags != 0 || !time_of(span->at, span->end, (Zone)column->zone, whole, &local))
            return NOT_MINE;
        if (local)
            ((char *)filling->local.data)[row] = 1;
        return DONE;
    }
    Number number;
    bool in_form = span->kind == '0' || (quoted && column->empty_as_null && span->flags == 0);
    if (!in_form || !number_of(span->at, span->end, &number)) {
        if (!in_form || column->type != DOUBLE || quoted)
            return NOT_MINE;
        number = (Number){UINT64_MAX, 0, false}; /* JSON's, but with more digits than that */
    }
    if (column->type == DOUBLE) {
        double value;
        if (!double_of(&number, &value) && !any_double(span, &value))
            return NOT_MINE;
        memcpy(whole, &value, sizeof value);
        return DONE;
    }
    bool found = column->type == BIGINT ? bigint_of(&number, whole)
                                        : numeric_of(&number, column->precision, column->scale, whole);
    return found ? DONE : NOT_MINE;
}

static Outcome read_message(Decoder *decoder, Filling *fillings, PyObject *message, PyObject *given, Py_ssize_t row,
                            unsigned char **scratch) {
    if (!PyBytes_Check(message) || PyBytes_GET_SIZE(message) > MESSAGE_BYTES_MAX)
        return NOT_MINE;
    Shape *shape = &decoder->shape;
    Text first = (Text)PyBytes_AS_STRING(message);
    if (!shape_read(shape, first, first + PyBytes_GET_SIZE(message)))
        return NOT_MINE;
    for (Py_ssize_t i = 0; i < decoder->count; i++) {
        const Column *column = &decoder->columns[i];
        const Span *span = column->span < 0 ? NULL : &shape->spans[column->span];
        if (span != NULL && span->message != shape->message)
            span = NULL;
        Outcome outcome = column->type <= EVENT_ID ? read_text(column, &fillings[i], span, row, given, scratch)
                                                   : read_value(column, &fillings[i], span, row);
        if (outcome != DONE)
            return outcome;
    }
    return DONE;
}

/* Takes a column's arrays. */
static bool fill(Filling *filling, Column *column, PyObject *arrays, Py_ssize_t n) {
    PyObject *data, *valid = NULL, *local = NULL;
    if (!PyArg_ParseTuple(arrays, "O|OO", &data, &valid, &local))
        return false;
    if (column->type == EVENT_ID) {
        if (PyObject_GetBuffer(data, &filling->objects, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | PyBUF_WRITABLE) < 0)
            return false;
        filling->objects_taken = true;
        const Py_buffer *b = &filling->objects;
        if (b->ndim == 1 && b->shape[0] == n && b->format != NULL && strcmp(b->format, "O") == 0)
            return true;
        PyErr_SetString(PyExc_TypeError, "event ids: not objects, one a message");
        return false;
    }
    if (column->type <= USER)
        return texts_init(&filling->texts, column->expected + column->expected / 4) &&
               view_of_length(data, I32, true, n, "codes", &filling->data);
    if (valid == NULL || (column->type == TIME && local == NULL)) {
        PyErr_SetString(PyExc_TypeError, "an array is missing");
        return false;
    }
    return view_of_length(data, column->type == BOOLEAN ? BOOL : I64, true, n, "data", &filling->data) &&
           view_of_length(valid, BOOL, true, n, "valid", &filling->valid) &&
           (column->type != TIME || view_of_length(local, BOOL, true, n, "local", &filling->local));
}

/* What the caller gets of a column besides the arrays: its dictionary, or whether there is a NULL. */
static PyObject *told(const Filling *filling, Column *column) {
    if (column->type <= USER) {
        column->expected = filling->texts.count;
        return texts_list(&filling->texts);
    }
    return PyBool_FromLong(filling->nulls);
}

static PyObject *decode_messages(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *capsule, *values, *given, *arrays, *odd = NULL, *notes = NULL, *result = NULL;
    if (!PyArg_ParseTuple(args, "OO!OO!:decode_messages", &capsule, &PyList_Type, &values, &given, &PyTuple_Type,
                          &arrays))
        return NULL;
    Decoder *decoder = PyCapsule_GetPointer(capsule, CAPSULE);
    if (decoder == NULL)
        return NULL;
    Py_ssize_t n = PyList_GET_SIZE(values), count = decoder->count;
    if (PyTuple_GET_SIZE(arrays) != count || (given != Py_None && !(PyList_Check(given) && PyList_GET_SIZE(given) == n)))
        return PyErr_Format(PyExc_ValueError, "arrays for each column, and an id or none for each message");
    unsigned char *scratch = NULL;
    Filling *fillings = calloc((size_t)count + 1, sizeof *fillings);
    if (fillings == NULL)
        return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++)
        if (!fill(&fillings[i], &decoder->columns[i], PyTuple_GET_ITEM(arrays, i), n))
            goto done;
    odd = PyList_New(0);
    notes = PyList_New(count);
    if (odd == NULL || notes == NULL)
        goto done;
    /* Nothing below runs code that could change `values` or what is in it. */
    for (Py_ssize_t row = 0; row < n; row++) {
        if (row + AHEAD < n) {
            const char *ahead = (const char *)PyList_GET_ITEM(values, row + AHEAD);
            for (int line = 0; line < 5; line++)
                __builtin_prefetch(ahead + 64 * line);
        }
        PyObject *id = given == Py_None ? NULL : PyList_GET_ITEM(given, row);
        Outcome outcome = read_message(decoder, fillings, PyList_GET_ITEM(values, row), id, row, &scratch);
        if (outcome == DONE)
            continue;
        PyObject *number = outcome == FAILED ? NULL : PyLong_FromSsize_t(row);
        int appended = number == NULL ? -1 : PyList_Append(odd, number);
        Py_XDECREF(number);
        if (appended < 0)
            goto done;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *note = told(&fillings[i], &decoder->columns[i]);
        if (note == NULL)
            goto done;
        PyList_SET_ITEM(notes, i, note);
    }
    result = PyTuple_Pack(2, odd, notes);
done:
    for (Py_ssize_t i = 0; i < count; i++) {
        Filling *filling = &fillings[i];
        view_release(&filling->data), view_release(&filling->valid), view_release(&filling->local);
        if (filling->objects_taken)
            PyBuffer_Release(&filling->objects);
        texts_free(&filling->texts);
    }
    free(fillings);
    free(scratch);
    Py_XDECREF(odd);
    Py_XDECREF(notes);
    return result;
}

/* The prefix and a number in decimal digits, of at most 19, as a str. */
static PyObject *numbered(const char *prefix, Py_ssize_t length, uint64_t number) {
    char digits[20];
    int first = (int)sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    Py_ssize_t count = (Py_ssize_t)sizeof digits - first;
    PyObject *text = PyUnicode_New(length + count, 127);
    if (text != NULL) {
        memcpy(PyUnicode_1BYTE_DATA(text), prefix, (size_t)length);
        memcpy(PyUnicode_1BYTE_DATA(text) + length, digits + first, (size_t)count);
    }
    return text;
}

static PyObject *numbered_texts(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *prefix, *numbers;
    View view;
    if (!PyArg_ParseTuple(args, "UO:numbered_texts", &prefix, &numbers) ||
        !view_of(numbers, I64, false, "numbers", &view))
        return NULL;
    PyObject *list = PyList_New(view.n);
    if (list != NULL && !PyUnicode_IS_COMPACT_ASCII(prefix)) {
        PyErr_SetString(PyExc_ValueError, "prefix: not ASCII");
        Py_CLEAR(list);
    }
    for (Py_ssize_t i = 0; list != NULL && i < view.n; i++) {
        int64_t number = ((const int64_t *)view.data)[i];
        PyObject *text = NULL;
        if (number < 0)
            PyErr_SetString(PyExc_ValueError, "numbers: below 0");
        else
            text = numbered((const char *)PyUnicode_1BYTE_DATA(prefix), PyUnicode_GET_LENGTH(prefix), (uint64_t)number);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, text);
    }
    view_release(&view);
    return list;
}

PyMethodDef decoding_methods[] = {
    {"message_shape", message_shape, METH_VARARGS, NULL},
    {"decode_messages", decode_messages, METH_VARARGS, NULL},
    {"numbered_texts", numbered_texts, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
