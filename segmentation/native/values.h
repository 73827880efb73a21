/* Numbers and times from their text, exactly as segmentation.events.decimals and times have them, or not at all:
   false means that somebody else must look, not that the text is wrong. The texts are followed by some byte that is
   neither a digit nor part of them (a quote, a comma, a NUL). */
#ifndef TIDEGATE_VALUES_H
#define TIDEGATE_VALUES_H

#include <stdbool.h>

#include "json.h"

/* The value is digits * 10**exponent, negated where `negative`. */
typedef struct {
    uint64_t digits;
    int exponent;
    bool negative;
} Number;

/* Of JSON's numbers, and of those in quotes: a sign, digits with a point somewhere, an exponent. */
bool number_of(Text p, Text end, Number *number);

/* A whole number of 64 bits, however it is written (12.0, 1.2e1). */
bool bigint_of(const Number *number, int64_t *out);

/* Times 10**scale, rounded half away from zero; below 10**precision. precision is at most 18, scale at most that. */
bool numeric_of(const Number *number, int precision, int scale, int64_t *out);

/* The nearest double, where it can be told by one exact multiplication or division; else false. -0 is 0. */
bool double_of(const Number *number, double *out);

/* What a time without a zone means. */
typedef enum { NO_ZONE, ZONE_UTC, ZONE_LATER } Zone;

/* RFC 3339 to microseconds since 1970 UTC. `*local`: it has no zone, and with ZONE_LATER the microseconds are
   those of a clock that shows UTC; the caller must move them, and see whether they are in range then. */
bool time_of(Text p, Text end, Zone zone, int64_t *micros, bool *local);

#endif
