/* See digests.h. The algorithm is XXH3, 64 bits, seed 0, of the xxHash specification, for at most LENGTH_MAX bytes:
   what is longer is rare, and left. */
#include "digests.h"

#include "arrays.h"
#include "mixing.h"

#define LENGTH_MAX 128

static const unsigned char SECRET[LENGTH_MAX] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
};
#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u
#define MIX_1 0x165667919E3779F9u
#define MIX_2 0x9FB21C651E98DF25u

typedef const unsigned char *Bytes;

static inline uint64_t word8(Bytes p) {
    uint64_t word;
    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline uint32_t word4(Bytes p) {
    uint32_t word;
    memcpy(&word, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap32(word);
#endif
    return word;
}

static inline uint64_t rotated(uint64_t h, int by) { return h << by | h >> (64 - by); }

static inline uint64_t avalanche(uint64_t h) {
    h ^= h >> 37;
    h *= MIX_1;
    return h ^ h >> 32;
}

static inline uint64_t avalanche_short(uint64_t h) {
    h ^= h >> 33;
    h *= PRIME_2;
    h ^= h >> 29;
    h *= PRIME_3;
    return h ^ h >> 32;
}

/* Sixteen bytes, with those of the secret at `at`. */
static inline uint64_t mixed(Bytes p, int at) {
    return fold(word8(p) ^ word8(SECRET + at), word8(p + 8) ^ word8(SECRET + at + 8));
}

static uint64_t digest(Bytes p, size_t length) {
    if (length == 0)
        return avalanche_short(word8(SECRET + 56) ^ word8(SECRET + 64));
    if (length <= 3) {
        uint32_t all = (uint32_t)p[0] << 16 | (uint32_t)p[length / 2] << 24 | p[length - 1] | (uint32_t)length << 8;
        return avalanche_short(all ^ (uint64_t)(word4(SECRET) ^ word4(SECRET + 4)));
    }
    if (length <= 8) {
        uint64_t h = word4(p + length - 4) + ((uint64_t)word4(p) << 32);
        h ^= word8(SECRET + 8) ^ word8(SECRET + 16);
        h ^= rotated(h, 49) ^ rotated(h, 24);
        h *= MIX_2;
        h ^= (h >> 35) + length;
        h *= MIX_2;
        return h ^ h >> 28;
    }
    if (length <= 16) {
        uint64_t low = word8(p) ^ word8(SECRET + 24) ^ word8(SECRET + 32);
        uint64_t high = word8(p + length - 8) ^ word8(SECRET + 40) ^ word8(SECRET + 48);
        return avalanche(length + __builtin_bswap64(low) + high + fold(low, high));
    }
    uint64_t sum = length * PRIME_1;
    for (int pair = (int)(length - 1) / 32; pair >= 0; pair--) /* sixteen bytes from the front, and from the end */
        sum += mixed(p + 16 * pair, 32 * pair) + mixed(p + length - 16 * (pair + 1), 32 * pair + 16);
    return avalanche(sum);
}

static PyObject *shards_of_users(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *users;
    long shards;
    if (!PyArg_ParseTuple(args, "O!l:shards_of_users", &PyList_Type, &users, &shards))
        return NULL;
    if (shards < 1)
        return PyErr_Format(PyExc_ValueError, "shards: %ld", shards);
    Py_ssize_t n = PyList_GET_SIZE(users);
    void *data;
    PyObject *array = new_array(I64, n, &data);
    if (array == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *user = PyList_GET_ITEM(users, i);
        if (!PyUnicode_Check(user)) {
            Py_DECREF(array);
            return PyErr_Format(PyExc_TypeError, "users: not all are str");
        }
        /* Other texts have to be encoded, and Python would keep that with the text for as long as the user is known. */
        bool left = !PyUnicode_IS_COMPACT_ASCII(user) || PyUnicode_GET_LENGTH(user) > LENGTH_MAX;
        ((int64_t *)data)[i] =
            left ? -1
                 : (int64_t)(digest(PyUnicode_1BYTE_DATA(user), (size_t)PyUnicode_GET_LENGTH(user)) % (uint64_t)shards);
    }
    return array;
}

PyMethodDef digests_methods[] = {
    {"shards_of_users", shards_of_users, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
