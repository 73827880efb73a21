/* See texts.h. */
#include "texts.h"

#include "mixing.h"

struct TextBlock {
    TextBlock *next;
    unsigned char bytes[];
};

/* Not to be foreseen from outside, since the address of the table is not: nobody can send texts that collide. */
static inline uint64_t hash_of(const Texts *texts, Text p, size_t length, uint64_t head, uint64_t tail) {
    uint64_t seed = (uint64_t)(uintptr_t)texts->slots * 0x9E3779B97F4A7C15u;
    return mixed_text(seed, p, length, head, tail);
}

bool texts_init(Texts *texts, size_t expected) {
    size_t room = 64;
    while (room < expected)
        room *= 2;
    *texts = (Texts){.room = room, .mask = 2 * room - 1};
    texts->entries = malloc(room * sizeof *texts->entries);
    texts->slots = calloc(2 * room, sizeof *texts->slots);
    if (texts->entries != NULL && texts->slots != NULL)
        return true;
    PyErr_NoMemory();
    return false;
}

void texts_free(Texts *texts) {
    while (texts->blocks != NULL) {
        TextBlock *block = texts->blocks;
        texts->blocks = block->next;
        free(block);
    }
    free(texts->entries);
    free(texts->slots);
}

/* Twice the room. The seed changes with the table's place, so all are hashed again. */
static bool grow(Texts *texts) {
    Texts more;
    bool made = texts_init(&more, 2 * texts->room);
    if (!made || texts->count >= INT32_MAX / 4) {
        texts_free(&more);
        PyErr_NoMemory();
        return false;
    }
    for (size_t code = 0; code < texts->count; code++) {
        TextEntry entry = texts->entries[code];
        entry.hash = hash_of(&more, entry.at, entry.length, entry.head, entry.tail);
        size_t slot = entry.hash & more.mask;
        while (more.slots[slot] != 0)
            slot = (slot + 1) & more.mask;
        more.slots[slot] = (uint32_t)code + 1;
        more.entries[code] = entry;
    }
    more.count = texts->count, more.blocks = texts->blocks;
    texts->blocks = NULL;
    texts_free(texts);
    *texts = more;
    return true;
}

static Text kept(Texts *texts, Text at, size_t length) {
    TextBlock *block = malloc(sizeof *block + length);
    if (block == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(block->bytes, at, length);
    block->next = texts->blocks;
    texts->blocks = block;
    return block->bytes;
}

int32_t texts_code(Texts *texts, Text at, size_t length, bool ascii, bool copy) {
    if (texts->count == texts->room && !grow(texts))
        return -1;
    uint64_t head, tail;
    ends_of(at, length, &head, &tail);
    uint64_t hash = hash_of(texts, at, length, head, tail);
    size_t slot = hash & texts->mask;
    for (; texts->slots[slot] != 0; slot = (slot + 1) & texts->mask) {
        const TextEntry *entry = &texts->entries[texts->slots[slot] - 1];
        if (entry->head == head && entry->tail == tail && entry->length == length && entry->hash == hash &&
            (length <= SHORT || memcmp(entry->at, at, length) == 0))
            return (int32_t)texts->slots[slot] - 1;
    }
    if (copy && (at = kept(texts, at, length)) == NULL)
        return -1;
    texts->entries[texts->count] = (TextEntry){hash, head, tail, at, (uint32_t)length, ascii};
    texts->slots[slot] = (uint32_t)++texts->count;
    return (int32_t)texts->count - 1;
}

PyObject *text_object(Text at, size_t length, bool ascii) {
    if (!ascii || length == 0)
        return PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)length, "strict");
    PyObject *text = PyUnicode_New((Py_ssize_t)length, 127);
    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), at, length);
    return text;
}

PyObject *texts_list(const Texts *texts) {
    PyObject *list = PyList_New((Py_ssize_t)texts->count);
    for (size_t code = 0; list != NULL && code < texts->count; code++) {
        const TextEntry *entry = &texts->entries[code];
        PyObject *text = text_object(entry->at, entry->length, entry->ascii);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)code, text);
    }
    return list;
}
