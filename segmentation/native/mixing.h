/* Hashes of short texts that nobody can foresee who does not know the seed, so that nobody can send texts that meet. */
#ifndef TIDEGATE_MIXING_H
#define TIDEGATE_MIXING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 64 x 64 bits to 128, folded: every bit of both has a say in every bit of the result. */
static inline uint64_t fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 Wide;
    Wide product = (Wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The first and the last bytes of a text, which up to SHORT bytes are, with the length, the whole text: so most
   comparisons need not go to where it stands. Nothing outside the text is read. */
#define SHORT 16

static inline void ends_of(const unsigned char *p, size_t length, uint64_t *head, uint64_t *tail) {
    *head = *tail = 0;
    if (length >= 8) {
        memcpy(head, p, 8);
        memcpy(tail, p + length - 8, 8);
    } else if (length >= 4) {
        memcpy(head, p, 4);
        memcpy(tail, p + length - 4, 4);
    } else if (length > 0) {
        *head = (uint64_t)p[0] << 16 | (uint64_t)p[length / 2] << 8 | p[length - 1];
    }
}

/* head, tail: as ends_of gives them. No factor can be made 0 from outside, for the seed is in each. */
static inline uint64_t mixed_text(
    uint64_t seed, const unsigned char *p, size_t length, uint64_t head, uint64_t tail
) {
    uint64_t hash = seed ^ length;
    if (length > SHORT) { /* what is between head and tail; the last word may begin before and end in the tail */
        const unsigned char *end = p + length - 8;
        for (p += 8; p < end; p += 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            hash = fold(hash ^ word, 0xA0761D6478BD642Fu ^ seed);
        }
    }
    return fold(fold(hash ^ head, 0xE7037ED1A0B428DBu ^ seed) ^ tail, 0x8EBC6AF09C88C6E3u ^ seed);
}

#endif
