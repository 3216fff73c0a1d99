/* A layer of long short-term memory, forward and backward, in float32 and float64 (Hochreiter and Schmidhuber, 1997;
 * with the forget gate of Gers, Schmidhuber and Cummins, 2000).
 *
 * For each sample and step, z = W_ih x + W_hh h_before + bias has four parts of `hidden` values, in PyTorch's order:
 *
 *     i = sigmoid(z_i), f = sigmoid(z_f), g = tanh(z_g), o = sigmoid(z_o)
 *     c = f c_before + i g,   h = o tanh(c)
 *
 * h and c before the first step are zero. Samples do not depend on each other: not on how many there are, not on
 * threads. What is infinite or NaN goes the way of IEEE 754.
 */
#ifndef SN_LSTM_H
#define SN_LSTM_H

#include "sn_common.h"

/* x is samples x steps x in, weight_ih 4 hidden x in, weight_hh 4 hidden x hidden, bias 4 hidden; y is samples x steps
 * x hidden with `sequences`, and samples x hidden, the last step's h, without. samples may be 0, nothing else may. */
typedef struct {
    int64_t samples, steps, in, hidden;
    int sequences;
    int threads; /* at most; 1: none but the caller's */
} sn_lstm;

/* Bytes of what forward keeps for backward, and of scratch, which is free for other uses between the calls; both are
 * aligned to 64. `width` is the size of a value. */
size_t sn_lstm_kept(const sn_lstm *lstm, size_t width);
size_t sn_lstm_workspace(const sn_lstm *lstm, size_t width, int backward);

/* kept may be NULL where there is no backward. y overlaps nothing. */
void sn_lstm_forward_f32(float *y, void *kept, const float *x, const float *weight_ih, const float *weight_hh,
                         const float *bias, const sn_lstm *lstm, void *workspace);
void sn_lstm_forward_f64(double *y, void *kept, const double *x, const double *weight_ih, const double *weight_hh,
                         const double *bias, const sn_lstm *lstm, void *workspace);

/* dx may be NULL; the gradients are overwritten, and so is kept, which serves once. dbias is summed in double. x is
 * that of forward, which has kept what is wanted of it. */
void sn_lstm_backward_f32(float *dx, float *dweight_ih, float *dweight_hh, float *dbias, const float *dy, void *kept,
                          const float *x, const float *weight_ih, const float *weight_hh, const sn_lstm *lstm,
                          void *workspace);
void sn_lstm_backward_f64(double *dx, double *dweight_ih, double *dweight_hh, double *dbias, const double *dy,
                          void *kept, const double *x, const double *weight_ih, const double *weight_hh,
                          const sn_lstm *lstm, void *workspace);

#endif
