/* See values.h. */
#include "values.h"

#include <float.h>

#define EARLIEST (-62135596800 * 1000000)
#define LATEST (253402300800 * 1000000 - 1)
#define POWER_MAX 19

static const uint64_t POWERS[POWER_MAX + 1] = {
    1u,
    10u,
    100u,
    1000u,
    10000u,
    100000u,
    1000000u,
    10000000u,
    100000000u,
    1000000000u,
    10000000000u,
    100000000000u,
    1000000000000u,
    10000000000000u,
    100000000000000u,
    1000000000000000u,
    10000000000000000u,
    100000000000000000u,
    1000000000000000000u,
    10000000000000000000u,
};

static bool digit_of(Text p, unsigned *digit) {
    *digit = (unsigned)*p - '0';
    return *digit <= 9;
}

bool number_of(Text p, Text end, Number *number) {
    uint64_t digits = 0;
    int places = 0, exponent = 0;
    bool some = false, negative = *p == '-';
    unsigned digit;
    if (*p == '-' || *p == '+')
        p++;
    for (; digit_of(p, &digit); p++, some = true) {
        if (digits > (UINT64_MAX - 9) / 10)
            return false;
        digits = digits * 10 + digit;
    }
    if (*p == '.')
        for (p++; digit_of(p, &digit); p++, some = true) {
            if (digits > (UINT64_MAX - 9) / 10 || places > 1000)
                return false;
            digits = digits * 10 + digit;
            places++;
        }
    if (!some)
        return false;
    if (p < end && (*p | 0x20) == 'e') {
        bool down = *++p == '-';
        if (*p == '-' || *p == '+')
            p++;
        if (!digit_of(p, &digit))
            return false;
        for (; digit_of(p, &digit); p++) {
            if (exponent > 1000)
                return false;
            exponent = exponent * 10 + (int)digit;
        }
        exponent = down ? -exponent : exponent;
    }
    *number = (Number){digits, exponent - places, negative};
    return p == end;
}

/* digits * 10**shift, at most `most`, which is below 2**63 + 1; `whole`: what is left over must be nothing, else
   it is rounded half up. */
static bool shifted(const Number *number, int shift, uint64_t most, bool whole, int64_t *out) {
    uint64_t value = number->digits;
    if (value == 0) {
        *out = 0;
        return true;
    }
    if (shift >= 0) {
        if (shift > POWER_MAX || value > most / POWERS[shift])
            return false;
        value *= POWERS[shift];
    } else if (-shift > POWER_MAX) {
        if (whole)
            return false;
        value = 0; /* below 2**64 / 10**20, which is less than a half */
    } else {
        uint64_t unit = POWERS[-shift], rest = value % unit;
        if (whole && rest != 0)
            return false;
        value = value / unit + (rest != 0 && rest >= unit - rest);
    }
    if (value > most)
        return false;
    *out = (int64_t)(number->negative ? 0 - value : value);
    return true;
}

bool bigint_of(const Number *number, int64_t *out) {
    return shifted(number, number->exponent, (uint64_t)INT64_MAX + number->negative, true, out);
}

bool numeric_of(const Number *number, int precision, int scale, int64_t *out) {
    return shifted(number, number->exponent + scale, POWERS[precision] - 1, false, out);
}

bool double_of(const Number *number, double *out) {
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int exponent = number->exponent;
    if (number->digits == 0) {
        *out = 0.0;
        return true;
    }
    /* Where double arithmetic is done in more digits, it rounds twice. */
    if (FLT_EVAL_METHOD != 0 || number->digits > (uint64_t)1 << 53 || exponent < -22 || exponent > 22)
        return false;
    double value = (double)number->digits;
    value = exponent < 0 ? value / exact[-exponent] : value * exact[exponent];
    *out = number->negative ? -value : value;
    return true;
}

/* `count` digits at p; more than any two or four of them where one is no digit. */
static unsigned digits_of(Text p, int count) {
    unsigned value = 0, digit;
    for (int i = 0; i < count; i++) {
        if (!digit_of(p + i, &digit))
            return 100000;
        value = value * 10 + digit;
    }
    return value;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar, year 1 to 9999. */
static int64_t days_of(unsigned year, unsigned month, unsigned day) {
    int64_t y = (int64_t)year - (month <= 2); /* a year that begins in March, so that its last day is the odd one */
    int64_t in_year = (153 * (int64_t)(month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + in_year - 719468;
}

static unsigned month_days(unsigned year, unsigned month) {
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Seconds east of UTC of +hh:mm, +hhmm or +hh, which end at `end`. */
static bool offset_of(Text p, Text end, int64_t *seconds) {
    ptrdiff_t length = end - p;
    if ((*p != '+' && *p != '-') || (length != 3 && length != 5 && !(length == 6 && p[3] == ':')))
        return false;
    unsigned hours = digits_of(p + 1, 2), minutes = length == 3 ? 0 : digits_of(end - 2, 2);
    if (hours > 23 || minutes > 59)
        return false;
    int64_t size = (int64_t)hours * 3600 + minutes * 60;
    *seconds = *p == '-' ? -size : size;
    return true;
}

bool time_of(Text p, Text end, Zone zone, int64_t *micros, bool *local) {
    if (end - p < 19 || p[4] != '-' || p[7] != '-' || p[13] != ':' || p[16] != ':' ||
        ((p[10] | 0x20) != 't' && p[10] != ' '))
        return false;
    unsigned year = digits_of(p, 4), month = digits_of(p + 5, 2), day = digits_of(p + 8, 2);
    unsigned hour = digits_of(p + 11, 2), minute = digits_of(p + 14, 2), second = digits_of(p + 17, 2);
    if (year - 1 > 9998 || month - 1 > 11 || day == 0 || day > month_days(year, month) || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    int64_t fraction = 0, offset = 0;
    p += 19;
    if (*p == '.') {
        unsigned digit;
        int64_t weight = 100000; /* 0 from the seventh digit on */
        if (!digit_of(++p, &digit))
            return false;
        for (; digit_of(p, &digit); p++, weight /= 10)
            fraction += digit * weight;
    }
    *local = p == end;
    if (*local) {
        if (zone == NO_ZONE)
            return false;
        *local = zone == ZONE_LATER;
    } else if ((*p | 0x20) == 'z') {
        if (p + 1 != end)
            return false;
    } else if (!offset_of(p, end, &offset)) {
        return false;
    }
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    *micros = seconds * 1000000 + fraction;
    return *micros >= EARLIEST && *micros <= LATEST;
}
