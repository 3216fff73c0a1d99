/* The loops of the norm layers over float32 and float64, and the two tables in which the drivers find them.
 *
 * x, y, dy, dx point to values of the table's type. Statistics are computed in double.
 *
 * `stream` asks for stores that go past the caches. An ordinary store first reads the line that it is about to
 * overwrite, a third of the traffic of a y that is too large to stay in cache anyway.
 */
#ifndef SN_NORMS_KERNELS_H
#define SN_NORMS_KERNELS_H

#include "sn_common.h"

/* Rows of `length` values, each with statistics of its own, and parameters for each value of a row. Row r takes its
 * parameters from weight + (r % periods) * length on. */
typedef struct {
    int64_t length, periods;
    const void *weight, *bias;   /* of x's type, periods x length; NULL: 1 and 0 */
    double *mean, *rstd;         /* one per row; mean is NULL for RMS normalization, which does not center */
    double *variance;            /* one per row, or NULL */
    double eps;
    int given;  /* backward: mean and rstd are constants, not functions of x */
    int stream;
} sn_rows_spec;

/* Fewer values than this that are normalized together have gradients in double: their terms cancel, those of two values
 * to nothing. */
#define SN_FEW 17
enum { SN_STREAM = 1, SN_IN_DOUBLE = 2 }; /* flags of the kernels of columns */

#define SN_COLUMNS 1024 /* that the kernels of columns take at a time */

typedef struct {
    int64_t width; /* bytes of a value */
    double (*value)(const void *x);
    void (*narrow)(void *to, const double *from, int64_t n);

    /* Sums of d = x - shift and of d^2. */
    void (*stats)(double *s1, double *s2, const void *x, int64_t n, double shift);
    double (*sum)(const void *x, int64_t n);
    /* y = (x - mean) * scale + bias. Here and below rstd says how far values are from the mean, for the precision. */
    void (*normalize)(void *y, const void *x, int64_t n, double mean, double rstd, double scale, double bias,
                      int stream);
    /* Sums of dy and of dy * (x - mean). */
    void (*products)(double *sum_dy, double *sum_dy_x, const void *dy, const void *x, int64_t n, double mean,
                     double rstd);
    /* dx = dy * by_dy + (x - mean) * by_x + constant */
    void (*gradient)(void *dx, const void *dy, const void *x, int64_t n, double mean, double rstd, double by_dy,
                     double by_x, double constant, int stream);

    /* Rows [first, first + count): statistics and y; x and y point to the first of them. */
    void (*rows_forward)(void *y, const void *x, const sn_rows_spec *spec, int64_t first, int64_t count);
    /* The same rows: dx, and dweight and dbias (periods x length, both or neither NULL) added to. */
    void (*rows_backward)(void *dx, double *dweight, double *dbias, const void *dy, const void *x,
                          const sn_rows_spec *spec, int64_t first, int64_t count);

    /* Matrices of `rows` rows, `stride` values apart, of `columns` columns, and one more row of only `rest` columns.
     * The parameters are arrays of `columns`, at most SN_COLUMNS; sums are added to. */
    void (*columns_stats)(double *s1, double *s2, const void *x, const double *shift, int64_t rows, int64_t columns,
                          int64_t stride, int64_t rest);
    void (*columns_normalize)(void *y, const void *x, const double *mean, const double *rstd, const double *scale,
                              const double *bias, int64_t rows, int64_t columns, int64_t stride, int64_t rest,
                              int flags);
    void (*columns_products)(double *sum_dy, double *sum_dy_x, const void *dy, const void *x, const double *mean,
                             const double *rstd, int64_t rows, int64_t columns, int64_t stride, int64_t rest,
                             int flags);
    void (*columns_gradient)(void *dx, const void *dy, const void *x, const double *mean, const double *rstd,
                             const double *by_dy, const double *by_x, const double *constant, int64_t rows,
                             int64_t columns, int64_t stride, int64_t rest, int flags);
} sn_norms_kernels;

extern const sn_norms_kernels sn_norms_float32, sn_norms_float64;

/* Variance (biased) from sums of d = x - shift and d^2 over n values, and by how much the mean is off the shift. False
 * where the shift was so far from the mean that digits cancelled, or where sums are not finite: then the sums are
 * wanted once more, from the mean as the shift. Cancellation up to a factor of SN_CANCELLATION is let pass: it costs
 * the variance less than two of its sixteen digits. */
#define SN_CANCELLATION 64.0

SN_INLINE int sn_variance(double *variance, double *offset, double s1, double s2, double n) {
    double m = s1 / n, square = s2 / n;
    double v = square - m * m;
    *offset = m;
    *variance = v < 0.0 ? 0.0 : v;
    return v * SN_CANCELLATION >= square;
}

/* The same for `count` statistics at once, means coming as shifts; false if any of them is wanted once more, or has a
 * mean that is not finite. rstd = 1 / sqrt(variance + eps). */
int sn_statistics_from_sums(double *mean, double *rstd, double *variance, const double *s1, const double *s2,
                            int64_t count, double n, double eps);

#endif
