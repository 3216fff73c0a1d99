/* Pixels of 8 bits to scaled floats. */
#ifndef SN_PIXELS_H
#define SN_PIXELS_H

#include "sn_common.h"

/* out[i, c] = table[c, pixels[i, c]]. out and pixels: n x channels; table: channels x 256. */
void sn_pixels_map_float32(float *out, const uint8_t *pixels, const float *table, int64_t n, int64_t channels);

#endif
