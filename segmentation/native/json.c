/* See json.h. */
#include "json.h"

#include <stdbool.h>

/* Past one character of more than one byte, well-formed by Unicode's table 3-7: not overlong, no surrogate. */
static Text wide(Text p) {
#define IS(at, least, most) (p[at] >= (least) && p[at] <= (most))
    unsigned char first = p[0]; /* each byte is looked at only after the one before, so never one behind the NUL */
    if (first >= 0xC2 && first <= 0xDF)
        return IS(1, 0x80, 0xBF) ? p + 2 : NULL;
    if (first >= 0xE0 && first <= 0xEF) {
        unsigned char least = first == 0xE0 ? 0xA0 : 0x80, most = first == 0xED ? 0x9F : 0xBF;
        return IS(1, least, most) && IS(2, 0x80, 0xBF) ? p + 3 : NULL;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        unsigned char least = first == 0xF0 ? 0x90 : 0x80, most = first == 0xF4 ? 0x8F : 0xBF;
        return IS(1, least, most) && IS(2, 0x80, 0xBF) && IS(3, 0x80, 0xBF) ? p + 4 : NULL;
    }
    return NULL;
#undef IS
}

static int hex(unsigned char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at p; -1 if they are none. */
static int32_t unit(Text p) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The character of an escape \u..., p at its first digit; moves p past it. -1: half a character, or no digits. */
static int32_t escaped_character(Text *p) {
    int32_t high = unit(*p);
    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return -1;
    *p += 4;
    if (high < 0xD800 || high > 0xDFFF)
        return high;
    if ((*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    int32_t low = unit(*p + 2);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    *p += 6;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

Text json_string_rest(Text p, Text end, int *flags) {
    for (;;) {
        if (*p == '"')
            return p;
        if (*p == '\\') {
            *flags |= ESCAPED;
            if (p[1] == 'u') {
                p += 2;
                int32_t character = escaped_character(&p);
                if (character < 0)
                    return NULL;
                if (character == 0)
                    *flags |= HAS_NUL;
            } else {
                if (p[1] == '\0' || strchr("\"\\/bfnrt", p[1]) == NULL)
                    return NULL;
                p += 2;
            }
        } else if (*p >= 0x80) {
            *flags |= WIDE;
            p = wide(p);
            if (p == NULL)
                return NULL;
        } else {
            return NULL; /* a control character, or the end */
        }
        p = json_plain(p, end);
    }
}

static bool is_digit(unsigned char c) { return (unsigned char)(c - '0') <= 9; }

Text json_number(Text p) {
    p += *p == '-';
    if (!is_digit(*p))
        return NULL;
    if (*p == '0')
        p++;
    else
        while (is_digit(*p))
            p++;
    if (*p == '.') {
        if (!is_digit(*++p))
            return NULL;
        while (is_digit(*p))
            p++;
    }
    if ((*p | 0x20) == 'e') {
        p++;
        p += *p == '+' || *p == '-';
        if (!is_digit(*p))
            return NULL;
        while (is_digit(*p))
            p++;
    }
    return p;
}

/* Past true, false or null: the letters are compared one by one, so not beyond the NUL. */
static Text word(Text p) {
    const char *wanted = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
    for (; *wanted != '\0'; wanted++, p++)
        if (*p != (unsigned char)*wanted)
            return NULL;
    return p;
}

Text json_skip(Text p, Text end) {
    uint64_t objects = 0; /* a bit for each level, the innermost lowest: an object, not an array */
    int depth = 0, flags;
    for (;;) {
        switch (*p) {
        case '"':
            p = json_string(p + 1, end, &flags);
            if (p == NULL)
                return NULL;
            p++;
            break;
        case '{':
        case '[':
            if (++depth > JSON_DEPTH_MAX)
                return NULL;
            objects = objects << 1 | (*p == '{');
            p = json_space(p + 1);
            if (*p == ((objects & 1) ? '}' : ']'))
                break; /* it closes below */
            if (objects & 1)
                goto key;
            continue;
        case 't':
        case 'f':
        case 'n':
            p = word(p);
            break;
        default:
            p = json_number(p);
        }
        if (p == NULL)
            return NULL;
        for (;;) { /* behind a value, or before the end of an empty object or array */
            if (depth == 0)
                return p;
            p = json_space(p);
            if (*p == ',')
                break;
            if (*p != ((objects & 1) ? '}' : ']'))
                return NULL;
            p++, depth--, objects >>= 1;
        }
        p = json_space(p + 1);
        if (!(objects & 1))
            continue;
    key:
        if (*p != '"' || (p = json_string(p + 1, end, &flags)) == NULL)
            return NULL;
        p = json_space(p + 1);
        if (*p != ':')
            return NULL;
        p = json_space(p + 1);
    }
}

size_t json_unescaped(Text p, Text end, unsigned char *out) {
    unsigned char *start = out;
    while (p < end) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        unsigned char kind = p[1];
        p += 2;
        if (kind != 'u') {
            static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
            const char *found = strchr(letters, kind);
            *out++ = found == NULL ? kind : (unsigned char)meant[found - letters];
            continue;
        }
        int32_t c = escaped_character(&p);
        if (c < 0x80) {
            *out++ = (unsigned char)c;
        } else if (c < 0x800) {
            *out++ = (unsigned char)(0xC0 | c >> 6);
            *out++ = (unsigned char)(0x80 | (c & 0x3F));
        } else if (c < 0x10000) {
            *out++ = (unsigned char)(0xE0 | c >> 12);
            *out++ = (unsigned char)(0x80 | (c >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (c & 0x3F));
        } else {
            *out++ = (unsigned char)(0xF0 | c >> 18);
            *out++ = (unsigned char)(0x80 | (c >> 12 & 0x3F));
            *out++ = (unsigned char)(0x80 | (c >> 6 & 0x3F));
            *out++ = (unsigned char)(0x80 | (c & 0x3F));
        }
    }
    return (size_t)(out - start);
}
