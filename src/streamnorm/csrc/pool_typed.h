/* Included by pool.c with T, INDEX and NAME(x) defined: pooling for one type.
 *
 * Loops go over BLOCK channels at a time, whose largest values and places stay in registers while the window is walked.
 */

SN_INLINE void NAME(window)(T *restrict y, int32_t *restrict from, const T *restrict x, const sn_pool *p,
                            const window *w, const int64_t n) {
    T best[BLOCK];
    INDEX place[BLOCK];
    const int64_t first = w->top * p->width + w->left;
    for (int64_t j = 0; j < n; j++) best[j] = x[first * p->channels + j];
    for (int64_t j = 0; j < n; j++) place[j] = (INDEX)first;
    for (int64_t h = w->top; h < w->bottom; h++)
        for (int64_t i = h * p->width + w->left; i < h * p->width + w->right; i++) {
            const T *values = x + i * p->channels;
            for (int64_t j = 0; j < n; j++) {
                int taken = values[j] > best[j] || values[j] != values[j];
                best[j] = taken ? values[j] : best[j];
                place[j] = taken ? (INDEX)i : place[j];
            }
        }
    for (int64_t j = 0; j < n; j++) y[j] = best[j];
    if (from != NULL)
        for (int64_t j = 0; j < n; j++) from[j] = (int32_t)place[j];
}

SN_CLONES static void NAME(forward_sample)(T *y, int32_t *from, const T *x, const sn_pool *p) {
    int64_t height = sn_pool_out_height(p), width = sn_pool_out_width(p), c = p->channels;
    for (int64_t i = 0; i < height; i++)
        for (int64_t k = 0; k < width; k++, y += c, from = from == NULL ? NULL : from + c) {
            window w = window_at(p, i, k);
            int64_t j = 0;
            for (; j + BLOCK <= c; j += BLOCK) NAME(window)(y + j, from == NULL ? NULL : from + j, x + j, p, &w, BLOCK);
            if (j < c) NAME(window)(y + j, from == NULL ? NULL : from + j, x + j, p, &w, c - j);
        }
}

SN_CLONES static void NAME(backward_sample)(T *dx, const T *dy, const int32_t *from, const sn_pool *p) {
    int64_t values = sn_pool_out_height(p) * sn_pool_out_width(p), c = p->channels;
    memset(dx, 0, (size_t)(p->height * p->width * c) * sizeof(T));
    for (int64_t i = 0; i < values; i++, dy += c, from += c)
        for (int64_t j = 0; j < c; j++) dx[from[j] * c + j] += dy[j];
}

static void NAME(forward_task)(void *state, int64_t index) {
    const job *j = state;
    int64_t of_y = index * j->out_values;
    NAME(forward_sample)((T *)j->y + of_y, j->from == NULL ? NULL : j->from + of_y,
                         (const T *)j->x + index * j->values, j->p);
}

static void NAME(backward_task)(void *state, int64_t index) {
    const job *j = state;
    NAME(backward_sample)((T *)j->dx + index * j->values, (const T *)j->dy + index * j->out_values,
                          j->read + index * j->out_values, j->p);
}
