/* Strict JSON (RFC 8259) in UTF-8, read from bytes that are followed by a NUL, as those of a bytes object are.

   Nothing here says why something is wrong. What is not JSON, or is unusual (nested very deeply), gives NULL, and
   the caller lets somebody else look. `p` is where to begin, `end` where the NUL stands; results lie between. */
#ifndef TIDEGATE_JSON_H
#define TIDEGATE_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef const unsigned char *Text;

/* What a string has in it besides plain ASCII. */
enum { ESCAPED = 1, WIDE = 2, HAS_NUL = 4 };

#define JSON_DEPTH_MAX 60

#define EACH_BYTE 0x0101010101010101u

/* Past white space. */
static inline Text json_space(Text p) {
    while (*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* The first byte from `p` on that is a quote, a backslash, a control character or not ASCII; `end` if there is none. */
static inline Text json_plain(Text p, Text end) {
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        /* A byte's high bit: it is one of them, or follows one in memory (the borrow), so the lowest is right. */
        uint64_t found = ((word ^ EACH_BYTE * '"') - EACH_BYTE) | ((word ^ EACH_BYTE * '\\') - EACH_BYTE) |
                         (word - EACH_BYTE * ' ') | word;
        found &= EACH_BYTE * 0x80;
        if (found)
            return p + __builtin_ctzll(found) / 8;
        p += 8;
    }
    while (p < end && *p != '"' && *p != '\\' && *p >= ' ' && *p < 0x80)
        p++;
    return p;
}

/* As json_string, from the first byte that is not plain. */
Text json_string_rest(Text p, Text end, int *flags);

/* From behind the opening quote to the closing one. Sets `flags`. */
static inline Text json_string(Text p, Text end, int *flags) {
    *flags = 0;
    p = json_plain(p, end);
    return *p == '"' ? p : json_string_rest(p, end, flags);
}

/* Past a number. */
Text json_number(Text p);

/* Past a value of any type; p is its first byte. */
Text json_skip(Text p, Text end);

/* The string between `p` and `end`, which json_string has passed, without its escapes: at most end - p bytes of
   UTF-8 into `out`, whose number it gives. */
size_t json_unescaped(Text p, Text end, unsigned char *out);

#endif
