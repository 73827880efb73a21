/* Lists that grow, outside Python's memory, for loops without the interpreter's lock. */
#ifndef TIDEGATE_BUFFERS_H
#define TIDEGATE_BUFFERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int64_t *items;
    size_t n, room;
    bool failed; /* there was no memory; what is pushed then is lost */
} List;

static inline bool list_more(List *list) {
    size_t room = list->room ? 2 * list->room : 256;
    int64_t *items = realloc(list->items, room * sizeof *items);
    if (items == NULL) {
        list->failed = true;
        return false;
    }
    list->items = items;
    list->room = room;
    return true;
}

static inline void list_push(List *list, int64_t item) {
    if (list->n == list->room && !list_more(list))
        return;
    list->items[list->n++] = item;
}

/* Room for `more` items at the end; false if there is no memory. `items + n` may be written to then. */
static inline bool list_reserve(List *list, size_t more) {
    while (list->n + more > list->room)
        if (!list_more(list))
            return false;
    return true;
}

static inline void push_three(List *list, int64_t a, int64_t b, int64_t c) {
    if (!list_reserve(list, 3))
        return;
    int64_t *to = list->items + list->n;
    to[0] = a, to[1] = b, to[2] = c;
    list->n += 3;
}

static inline void list_free(List *list) {
    free(list->items);
    memset(list, 0, sizeof *list);
}

#endif
