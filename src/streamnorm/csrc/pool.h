/* The largest value of each window of an image, forward and backward, in float32 and float64. Images are NHWC.
 *
 * Positions outside of the image count as less than any number: zeros are counted, `top` and so on, but not looked at.
 * NaN is larger than all numbers; of equal values the first one of a window, row by row, is taken, and of several NaN
 * the last one. (These are PyTorch's rules.) The gradient goes to the value that was taken; where windows overlap, the
 * gradients of one value are added up in the order of the windows. Threads share the samples; results do not depend on
 * them.
 *
 * A description is valid if no size is negative, the sizes of windows and strides and those of x but for the samples
 * are at least 1, `top` and `bottom` are less than pool_height and `left` and `right` less than
 * pool_width, so that every window has a position inside, no window is larger than the image and what is around it,
 * and height * width is less than 2^31.
 */
#ifndef SN_POOL_H
#define SN_POOL_H

#include "sn_common.h"

typedef struct {
    int64_t samples, height, width, channels; /* x: samples x height x width x channels */
    int64_t pool_height, pool_width, stride_height, stride_width;
    int64_t top, bottom, left, right; /* positions around each image */
    int threads;                      /* at most; 1: none but the caller's */
} sn_pool;

/* Of y: samples x out_height x out_width x channels. */
int64_t sn_pool_out_height(const sn_pool *p);
int64_t sn_pool_out_width(const sn_pool *p);

/* from: NULL, or for each value of y the position h * width + w of the image that it was taken from. */
void sn_pool_forward_f32(float *y, int32_t *from, const float *x, const sn_pool *p);
void sn_pool_forward_f64(double *y, int32_t *from, const double *x, const sn_pool *p);

/* Of the description, this looks at the sizes of x and of y alone. */
void sn_pool_backward_f32(float *dx, const float *dy, const int32_t *from, const sn_pool *p);
void sn_pool_backward_f64(double *dx, const double *dy, const int32_t *from, const sn_pool *p);

#endif
