/* Included with REAL and its numbers defined: exp, tanh and the logistic function of one type, without a branch, so
 * that loops over them become vectors.
 *
 * exp by reduction to |r| <= ln(2) / 2 with ln(2) in two parts (Cody and Waite, "Software Manual for the Elementary
 * Functions", 1980) and the Taylor polynomial of exp(r) - 1, whose first term left out is below a tenth of a rounding.
 * tanh is E / (E + 2) with E = exp(2 |x|) - 1, which loses no digits near 0. NaN goes through; what is clamped are
 * arguments whose results are 0 or 1 in the type.
 */

SN_INLINE REAL NAME(power_of_two)(UINT k) { /* 2^k, k modulo 2^32 or 2^64 */
    UINT bits = (k + EXPONENT_BIAS) << MANTISSA_BITS;
    REAL value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* x as k ln(2) + r; returns exp(r) - 1. |x| < 2^20. */
SN_INLINE REAL NAME(expm1_reduced)(REAL x, UINT *k) {
    const REAL to_whole = (REAL)1.5 * ((UINT)1 << MANTISSA_BITS); /* adding it rounds to a whole number */
    REAL shifted = x * (REAL)0x1.71547652b82fep+0 + to_whole;
    UINT bits, zero;
    __builtin_memcpy(&bits, &shifted, sizeof bits);
    __builtin_memcpy(&zero, &to_whole, sizeof zero);
    *k = bits - zero;
    REAL n = shifted - to_whole;
    REAL r = (x - n * LN2_HIGH) - n * LN2_LOW;
    REAL p = EXP_POLYNOMIAL(r);
    return r + r * r * p;
}

/* exp(x) for x <= 0. The power of two comes in two factors: results may be denormal. */
SN_INLINE REAL NAME(exp_of_negative)(REAL x) {
    UINT k, half;
    x = x < EXP_LEAST ? EXP_LEAST : x;
    REAL value = (REAL)1 + NAME(expm1_reduced)(x, &k);
    k = (UINT)0 - k;
    half = k >> 1;
    return value * NAME(power_of_two)((UINT)0 - half) * NAME(power_of_two)(half - k);
}

SN_INLINE REAL NAME(tanh_of)(REAL x) {
    UINT k;
    REAL u = (REAL)2 * FABS(x);
    u = u > TANH_MOST ? TANH_MOST : u;
    REAL q = NAME(expm1_reduced)(u, &k);
    REAL power = NAME(power_of_two)(k);
    REAL e = power * q + (power - (REAL)1);
    return COPYSIGN(e / (e + (REAL)2), x);
}

SN_INLINE REAL NAME(sigmoid_of)(REAL x) {
    REAL e = NAME(exp_of_negative)(-FABS(x));
    return (x >= 0 ? (REAL)1 : e) / ((REAL)1 + e);
}
