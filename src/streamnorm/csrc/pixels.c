/* See pixels.h.
 *
 * Design: a pixel has 256 values, so whatever a scaler does to them fits a table of a kilobyte a channel, which stays
 * in L1, and costs a load a value with the scaler's own rounding. Turned down: y = x * a + b in floats, which vectors
 * do faster still, but which rounds twice, where decoding takes twenty times as long as either.
 */
#include "pixels.h"

/* The number of channels is a constant in each copy of the loop, so that it is unrolled. */
SN_INLINE void map_channels(float *restrict out, const uint8_t *restrict pixels, const float *restrict table, int64_t n,
                            int64_t channels) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < channels; c++)
            out[i * channels + c] = table[c * 256 + pixels[i * channels + c]];
}

void sn_pixels_map_float32(float *out, const uint8_t *pixels, const float *table, int64_t n, int64_t channels) {
    if (channels == 3)
        map_channels(out, pixels, table, n, 3);
    else if (channels == 1)
        map_channels(out, pixels, table, n, 1);
    else
        map_channels(out, pixels, table, n, channels);
}
