/* What a text or a list begins with in msgpack: the shortest of its forms. How long that is; to NULL: only that. */
#ifndef TIDEGATE_MSGPACK_H
#define TIDEGATE_MSGPACK_H

#include <stddef.h>
#include <stdint.h>

#define MSGPACK_HEAD_MOST 5
#define MSGPACK_NIL 0xc0

/* least: sizes below it are in the first byte; kind: that, and what stands before 1, 2 and 4 bytes of size (0: none). */
static inline size_t msgpack_head(unsigned char *to, uint64_t size, uint64_t least, const unsigned char kind[4]) {
    unsigned char first = size < least ? (unsigned char)(kind[0] | size) : size <= UINT8_MAX && kind[1] ? kind[1]
        : size <= UINT16_MAX ? kind[2] : kind[3];
    size_t more = size < least ? 0 : size <= UINT8_MAX && kind[1] ? 1 : size <= UINT16_MAX ? 2 : 4;
    if (to != NULL) {
        *to++ = first;
        for (size_t i = more; i-- > 0;)
            *to++ = (unsigned char)(size >> 8 * i);
    }
    return 1 + more;
}

static inline size_t text_head(unsigned char *to, uint64_t bytes) {
    static const unsigned char TEXT[4] = {0xa0, 0xd9, 0xda, 0xdb};
    return msgpack_head(to, bytes, 32, TEXT);
}

static inline size_t list_head(unsigned char *to, uint64_t items) {
    static const unsigned char LIST[4] = {0x90, 0, 0xdc, 0xdd};
    return msgpack_head(to, items, 16, LIST);
}

#endif
