/* Included by pool.c with T and NAME(x) defined: pooling for one type. */

/* All channels of a window, position by position: compilers make vectors of the loops over channels. */
SN_INLINE void NAME(wide_window)(T *restrict y, int32_t *restrict from, const T *restrict x, const sn_pool *p,
                                 const window *w) {
    const int64_t channels = p->channels, first = w->top * p->width + w->left;
    for (int64_t j = 0; j < channels; j++) y[j] = x[first * channels + j];
    if (from != NULL)
        for (int64_t j = 0; j < channels; j++) from[j] = (int32_t)first;
    for (int64_t h = w->top; h < w->bottom; h++)
        for (int64_t i = h * p->width + w->left; i < h * p->width + w->right; i++) {
            const T *restrict values = x + i * channels;
            if (i == first) continue;
            if (from == NULL)
                for (int64_t j = 0; j < channels; j++)
                    y[j] = (values[j] > y[j]) | (values[j] != values[j]) ? values[j] : y[j];
            else
                for (int64_t j = 0; j < channels; j++) {
                    const int taken = (values[j] > y[j]) | (values[j] != values[j]);
                    y[j] = taken ? values[j] : y[j];
                    from[j] = taken ? (int32_t)i : from[j];
                }
        }
}

/* One channel. */
SN_INLINE void NAME(narrow_window)(T *y, int32_t *from, const T *x, const sn_pool *p, const window *w) {
    int64_t place = w->top * p->width + w->left;
    T best = x[place * p->channels];
    for (int64_t h = w->top; h < w->bottom; h++)
        for (int64_t i = h * p->width + w->left; i < h * p->width + w->right; i++) {
            const T value = x[i * p->channels];
            if (value > best || value != value) {
                best = value;
                place = i;
            }
        }
    *y = best;
    if (from != NULL) *from = (int32_t)place;
}

SN_CLONES static void NAME(forward_sample)(T *y, int32_t *from, const T *x, const sn_pool *p) {
    int64_t height = sn_pool_out_height(p), width = sn_pool_out_width(p), c = p->channels;
    for (int64_t i = 0; i < height; i++)
        for (int64_t k = 0; k < width; k++, y += c, from = from == NULL ? NULL : from + c) {
            window w = window_at(p, i, k);
            if (c >= WIDE)
                NAME(wide_window)(y, from, x, p, &w);
            else
                for (int64_t j = 0; j < c; j++)
                    NAME(narrow_window)(y + j, from == NULL ? NULL : from + j, x + j, p, &w);
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
