/* Included by network_kernels.c with REAL defined: the values of one step of a layer of long short-term memory.
 *
 * Rows are done by blocks of a length that is known, which compilers make vectors of; what is left of a row goes
 * through a block of its own, whose other values are zero.
 *
 * Design: the gates of a row first, then what is made of them. In one loop the second tanh waits for the first three
 * functions, and the processor has no room to begin the next block meanwhile: it took a fifth longer.
 */

#define BLOCK 16

SN_INLINE void NAME(lstm_gates)(REAL *i_gate, REAL *f_gate, REAL *g_gate, REAL *o_gate) {
    INDEPENDENT
    for (int j = 0; j < BLOCK; j++) {
        i_gate[j] = NAME(sigmoid_of)(i_gate[j]);
        f_gate[j] = NAME(sigmoid_of)(f_gate[j]);
        g_gate[j] = NAME(tanh_of)(g_gate[j]);
        o_gate[j] = NAME(sigmoid_of)(o_gate[j]);
    }
}

SN_INLINE void NAME(lstm_outputs)(REAL *c, REAL *tanh_c, REAL *h, const REAL *i_gate, const REAL *f_gate,
                                  const REAL *g_gate, const REAL *o_gate, const REAL *c_before) {
    INDEPENDENT
    for (int j = 0; j < BLOCK; j++) {
        REAL value = f_gate[j] * c_before[j] + i_gate[j] * g_gate[j];
        REAL outer = NAME(tanh_of)(value);
        c[j] = value;
        tanh_c[j] = outer;
        h[j] = o_gate[j] * outer;
    }
}

SN_CLONES static void NAME(lstm_cell)(void *gates, void *cell, void *tanh_cell, void *output, const void *before,
                                      int64_t rows, int64_t hidden, int64_t row_of_output) {
    REAL *i = gates, *c = cell, *tanh_c = tanh_cell, *h = output;
    const REAL *c_before = before;
    const int64_t H = hidden, whole = H / BLOCK * BLOCK;
    const size_t rest = (size_t)(H - whole) * sizeof(REAL);
    for (int64_t n = 0; n < rows; n++, i += 4 * H, c += H, tanh_c += H, c_before += H, h += row_of_output) {
        REAL *f = i + H, *g = i + 2 * H, *o = i + 3 * H;
        for (int64_t j = 0; j < whole; j += BLOCK) NAME(lstm_gates)(i + j, f + j, g + j, o + j);
        for (int64_t j = 0; j < whole; j += BLOCK)
            NAME(lstm_outputs)(c + j, tanh_c + j, h + j, i + j, f + j, g + j, o + j, c_before + j);
        if (rest > 0) {
            REAL part[8][BLOCK] = {{0}};
            for (int k = 0; k < 4; k++) memcpy(part[k], i + k * H + whole, rest);
            memcpy(part[7], c_before + whole, rest);
            NAME(lstm_gates)(part[0], part[1], part[2], part[3]);
            NAME(lstm_outputs)(part[4], part[5], part[6], part[0], part[1], part[2], part[3], part[7]);
            for (int k = 0; k < 4; k++) memcpy(i + k * H + whole, part[k], rest);
            memcpy(c + whole, part[4], rest);
            memcpy(tanh_c + whole, part[5], rest);
            memcpy(h + whole, part[6], rest);
        }
    }
}

/* Gradients of the sums z in the place of the gates, and of c before the step in that of c. */
SN_CLONES static void NAME(lstm_cell_backward)(void *gates, void *cell_gradient, const void *output_gradient,
                                               const void *tanh_cell, const void *before, int64_t rows,
                                               int64_t hidden) {
    REAL *z = gates, *dc = cell_gradient;
    const REAL *dh = output_gradient, *tanh_c = tanh_cell, *c_before = before;
    const int64_t H = hidden;
    for (int64_t n = 0; n < rows; n++, z += 4 * H, dc += H, dh += H, tanh_c += H, c_before += H) {
        INDEPENDENT
        for (int64_t j = 0; j < H; j++) {
            REAL i = z[j], f = z[H + j], g = z[2 * H + j], o = z[3 * H + j], outer = tanh_c[j];
            REAL dcell = dc[j] + dh[j] * o * ((REAL)1 - outer * outer);
            z[j] = dcell * g * (i * ((REAL)1 - i));
            z[H + j] = dcell * c_before[j] * (f * ((REAL)1 - f));
            z[2 * H + j] = dcell * i * ((REAL)1 - g * g);
            z[3 * H + j] = dh[j] * outer * (o * ((REAL)1 - o));
            dc[j] = dcell * f;
        }
    }
}

#undef BLOCK

typedef REAL NAME(turned) __attribute__((vector_size(TURNED * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef UINT NAME(indexes) __attribute__((vector_size(TURNED * sizeof(REAL))));

/* Squares of TURNED rows and columns are turned in registers: interleaving the first half of the rows with the second
 * one moves each value as a perfect shuffle does. */
SN_CLONES static void NAME(transpose)(void *to, const void *from, int64_t rows, int64_t columns) {
    REAL *restrict y = to;
    const REAL *restrict x = from;
    const int64_t high = rows / TURNED * TURNED, wide = columns / TURNED * TURNED;
    for (int64_t i = 0; i < high; i += TURNED)
        for (int64_t j = 0; j < wide; j += TURNED) {
            NAME(turned) v[TURNED], w[TURNED];
            for (int a = 0; a < TURNED; a++) v[a] = *(const NAME(turned) *)(x + (i + a) * columns + j);
            for (int step = 1; step < TURNED; step *= 2) {
                for (int a = 0; a < TURNED / 2; a++) {
                    w[2 * a] = INTERLEAVE_LOW(v[a], v[a + TURNED / 2]);
                    w[2 * a + 1] = INTERLEAVE_HIGH(v[a], v[a + TURNED / 2]);
                }
                for (int a = 0; a < TURNED; a++) v[a] = w[a];
            }
            for (int b = 0; b < TURNED; b++) *(NAME(turned) *)(y + (j + b) * rows + i) = v[b];
        }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i < high ? wide : 0; j < columns; j++) y[j * rows + i] = x[i * columns + j];
}
