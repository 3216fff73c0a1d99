/* Convolution of images, forward and backward, in float32 and float64. Images, outputs and gradients are NHWC, of
 * rows of positions of channels; the weight is kernel_height x kernel_width x channels x filters.
 *
 *     y[n, i, j, o] = bias[o] + sum over k, l, c of x[n, i stride_height - top + k, j stride_width - left + l, c]
 *                                                   weight[k, l, c, o]
 *
 * where x is zero outside of the image. (As everywhere where networks are meant, nothing is turned round: this is a
 * cross-correlation.) A sum is a chain of fused multiply-adds in the order of k, l and c that starts at zero; after
 * rows of the kernel with SN_CONV_CHAIN values another one begins, and they are added up. Sums over positions, in the
 * gradients of weight and bias, are cut in the same way, and into at most SN_CONV_CHUNKS sums over images. None of it
 * depends on the number of threads or on how wide the processor's vectors are. NaN and infinities go the way of IEEE
 * 754, but for zeros outside of the image, which an infinite weight may or may not meet.
 *
 * A description is valid if no size is negative, those of the kernel, the strides and x but for the samples are at
 * least 1, and the kernel is not larger than the image with its zeros.
 */
#ifndef SN_CONV_H
#define SN_CONV_H

#include "gemm.h"

#define SN_CONV_CHAIN 1024
#define SN_CONV_CHUNKS 16

typedef struct {
    int64_t samples, height, width, channels;     /* x: samples x height x width x channels */
    int64_t filters, kernel_height, kernel_width; /* weight: kernel_height x kernel_width x channels x filters */
    int64_t stride_height, stride_width;
    int64_t top, bottom, left, right; /* zeros around each image */
    int threads;                      /* at most; 1: none but the caller's */
} sn_conv;

/* Of y: samples x out_height x out_width x filters. */
int64_t sn_conv_out_height(const sn_conv *c);
int64_t sn_conv_out_width(const sn_conv *c);

/* Bytes of scratch, aligned to 64, that values of `width` bytes want; never 0. It is free for other uses afterwards. */
size_t sn_conv_workspace(const sn_conv *c, size_t width, int backward);

/* y overlaps nothing that is read. bias: NULL for none. */
void sn_conv_forward_f32(
    float *y, const float *x, const float *weight, const float *bias, const sn_conv *c, void *workspace);
void sn_conv_forward_f64(
    double *y, const double *x, const double *weight, const double *bias, const sn_conv *c, void *workspace);

/* dx and dbias: NULL where they are not wanted. What is written overlaps nothing else. */
void sn_conv_backward_f32(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                          const float *weight, const sn_conv *c, void *workspace);
void sn_conv_backward_f64(double *dx, double *dweight, double *dbias, const double *dy, const double *x,
                          const double *weight, const sn_conv *c, void *workspace);

/* The same by the code for one instruction set, which must not be above the best. */
void sn_conv_forward_at_level_f32(float *y, const float *x, const float *weight, const float *bias, const sn_conv *c,
                                  void *workspace, sn_gemm_level level);
void sn_conv_forward_at_level_f64(double *y, const double *x, const double *weight, const double *bias,
                                  const sn_conv *c, void *workspace, sn_gemm_level level);
void sn_conv_backward_at_level_f32(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                                   const float *weight, const sn_conv *c, void *workspace, sn_gemm_level level);
void sn_conv_backward_at_level_f64(double *dx, double *dweight, double *dbias, const double *dy, const double *x,
                                   const double *weight, const sn_conv *c, void *workspace, sn_gemm_level level);

#endif
