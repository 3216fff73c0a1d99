/* Included by network_kernels.c with REAL defined: the values of one step of a layer of long short-term memory.
 *
 * Rows are done by blocks of a length that is known, which compilers make vectors of; what is left of a row goes through
 * a block of its own, whose other values are zero.
 */

#define BLOCK 16

/* Gates from their sums z, in place; then c, tanh(c) and h. */
SN_INLINE void NAME(lstm_block)(REAL *i_gate, REAL *f_gate, REAL *g_gate, REAL *o_gate, REAL *c, REAL *tanh_c, REAL *h,
                                const REAL *c_before) {
    INDEPENDENT
    for (int j = 0; j < BLOCK; j++) {
        REAL i = NAME(sigmoid_of)(i_gate[j]), f = NAME(sigmoid_of)(f_gate[j]);
        REAL g = NAME(tanh_of)(g_gate[j]), o = NAME(sigmoid_of)(o_gate[j]);
        REAL value = f * c_before[j] + i * g;
        REAL outer = NAME(tanh_of)(value);
        i_gate[j] = i;
        f_gate[j] = f;
        g_gate[j] = g;
        o_gate[j] = o;
        c[j] = value;
        tanh_c[j] = outer;
        h[j] = o * outer;
    }
}

SN_CLONES static void NAME(lstm_cell)(void *gates, void *cell, void *tanh_cell, void *output, const void *before,
                                      int64_t rows, int64_t hidden, int64_t row_of_output) {
    REAL *z = gates, *c = cell, *tanh_c = tanh_cell, *h = output;
    const REAL *c_before = before;
    const int64_t H = hidden;
    for (int64_t n = 0; n < rows; n++, z += 4 * H, c += H, tanh_c += H, c_before += H, h += row_of_output) {
        int64_t j = 0;
        for (; j + BLOCK <= H; j += BLOCK)
            NAME(lstm_block)(z + j, z + H + j, z + 2 * H + j, z + 3 * H + j, c + j, tanh_c + j, h + j, c_before + j);
        if (j < H) {
            REAL part[8][BLOCK] = {{0}};
            const size_t bytes = (size_t)(H - j) * sizeof(REAL);
            for (int k = 0; k < 4; k++) memcpy(part[k], z + k * H + j, bytes);
            memcpy(part[7], c_before + j, bytes);
            NAME(lstm_block)(part[0], part[1], part[2], part[3], part[4], part[5], part[6], part[7]);
            for (int k = 0; k < 4; k++) memcpy(z + k * H + j, part[k], bytes);
            memcpy(c + j, part[4], bytes);
            memcpy(tanh_c + j, part[5], bytes);
            memcpy(h + j, part[6], bytes);
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

#define SIDE 16 /* of a block that is turned: what is read of a row, and written of a column, are whole lines */

SN_CLONES static void NAME(transpose)(void *to, const void *from, int64_t rows, int64_t columns) {
    REAL *restrict y = to;
    const REAL *restrict x = from;
    for (int64_t i = 0; i < rows; i += SIDE)
        for (int64_t j = 0; j < columns; j += SIDE) {
            int64_t high = rows - i < SIDE ? rows - i : SIDE, wide = columns - j < SIDE ? columns - j : SIDE;
            for (int64_t b = 0; b < wide; b++)
                for (int64_t a = 0; a < high; a++) y[(j + b) * rows + i + a] = x[(i + a) * columns + j + b];
        }
}

#undef SIDE
