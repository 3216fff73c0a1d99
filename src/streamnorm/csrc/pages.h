/* The body of a Parquet data page (version 1, PLAIN) of one flat float column. See pages.c. */
#ifndef SN_PAGES_H
#define SN_PAGES_H

#include "sn_common.h"

/* What a column chunk's statistics need, over values that are neither null nor NaN. Either sign may stand for
 * a zero. min and max are +inf and -inf while count == nan_count; every type's values are exact as double. */
typedef struct {
    double min, max;
    int64_t count;     /* values that are not null, NaN among them */
    int64_t nan_count;
} sn_page_stats;

void sn_page_stats_init(sn_page_stats *stats);

/* Set bits among n, from bit_offset on; no byte beyond the last of these bits is read. */
int64_t sn_bits_count(const uint8_t *bits, int64_t bit_offset, int64_t n);

/* Bytes of the definition levels of n rows, `valid` of them not null, with their 4-byte length in front. */
int64_t sn_page_levels_bytes(int64_t n, int64_t valid);

/* Write exactly that many bytes. bits may be NULL when valid == n. */
void sn_page_levels_pack(uint8_t *out, const uint8_t *bits, int64_t bit_offset, int64_t n, int64_t valid);

/* Copy the valid ones of n values to out, and add them to the statistics; bits == NULL: all are valid.
 * out must have room for one value more than are valid, unless bits is NULL. out == NULL (with bits == NULL):
 * the statistics alone. The values of _2 are IEEE 754 binary16 by their bits. */
void sn_page_pack_8(double *out, sn_page_stats *stats, const double *values, const uint8_t *bits,
                    int64_t bit_offset, int64_t n);
void sn_page_pack_4(float *out, sn_page_stats *stats, const float *values, const uint8_t *bits,
                    int64_t bit_offset, int64_t n);
void sn_page_pack_2(uint16_t *out, sn_page_stats *stats, const uint16_t *values, const uint8_t *bits,
                    int64_t bit_offset, int64_t n);

#endif
