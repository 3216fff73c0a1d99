/* Included by network_kernels.c after the functions of float64: logarithms for losses, which are computed in double.
 *
 * log(m) = 2 artanh((m - 1) / (m + 1)) by its series, for sqrt(1/2) <= m <= sqrt(2), where the argument is at most
 * 0.172 and the first term left out is 1e-18 of the first.
 */

SN_INLINE double twice_artanh(double s) {
    double t = s * s, sum = 1.0 / 23;
    for (int k = 21; k > 0; k -= 2) sum = sum * t + 1.0 / k;
    return 2.0 * s * sum;
}

#define LN2 0x1.62e42fefa39efp-1

/* log(1 + z) for 0 <= z <= 1: that of z where z is small, and that of (1 + z) / 2 with ln(2) added where it is not. */
SN_INLINE double log1p_of_fraction(double z) {
    int small = z < 0.41421356237309503;
    double s = small ? z / (2.0 + z) : (z - 1.0) / (z + 3.0);
    return twice_artanh(s) + (small ? 0.0 : LN2);
}

/* log(x) for finite x >= 1; what is not finite stays as it is. */
SN_INLINE double log_of_sum(double x) {
    uint64_t bits;
    if (!(x < (double)INFINITY)) return x;
    memcpy(&bits, &x, sizeof bits);
    int64_t k = (int64_t)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(0x3ff0000000000000);
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    return twice_artanh((m - 1.0) / (m + 1.0)) + (double)k * LN2;
}
