/* The serialized sketch as little-endian words of 8 bytes, shared by kll_bytes.c and kll_weighted_bytes.c. */
#ifndef SN_KLL_WORDS_H
#define SN_KLL_WORDS_H

#include "kll_state.h"

#define SN_KLL_MAX_COUNT (INT64_C(1) << 60)

SN_INLINE void put(unsigned char *out, int64_t word, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        out[8 * word + i] = (unsigned char)(value >> (8 * i));
    }
}

SN_INLINE uint64_t get(const unsigned char *data, int64_t word)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value |= (uint64_t)data[8 * word + i] << (8 * i);
    }
    return value;
}

SN_INLINE void put_double(unsigned char *out, int64_t word, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(out, word, bits);
}

SN_INLINE double get_double(const unsigned char *data, int64_t word)
{
    uint64_t bits = get(data, word);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

SN_INLINE int64_t get_key(const unsigned char *data, int64_t word)
{
    return sn_key_from_bits((int64_t)get(data, word));
}

SN_INLINE uint64_t checksum(const unsigned char *data, int64_t words)
{
    uint64_t sum = (uint64_t)words;
    for (int64_t i = 0; i < words; i++) {
        sum = sn_kll_scramble(sum ^ get(data, i)) + (uint64_t)i;
    }
    return sum;
}

SN_INLINE void put_head(unsigned char *out, unsigned version)
{
    memcpy(out, "SNKL", 4);
    for (int i = 0; i < 4; i++) {
        out[4 + i] = (unsigned char)(version >> (8 * i));
    }
}

/* The version of bytes whose last word is the checksum of the others; -1 where they are no such bytes. */
SN_INLINE int64_t intact_version(const unsigned char *data, size_t size)
{
    int64_t words = (int64_t)(size / 8) - 1;
    if (size % 8 != 0 || words < 1 || memcmp(data, "SNKL", 4) != 0 || get(data, words) != checksum(data, words)) {
        return -1;
    }
    return (int64_t)(get(data, 0) >> 32);
}

#endif
