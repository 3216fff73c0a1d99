/* Work on several threads: numbered tasks in phases, taken in order by whoever is free.
 *
 * A task knows only its number, never its thread, and tasks of one phase write to different places; so results do not
 * depend on how many threads there are or on which of them did what.
 *
 * Design: threads live as long as the call. Starting one costs some 10 us, and those who start it work meanwhile; in
 * return there is no state between calls: nothing to lose in a fork, nothing for two callers to share, nothing that
 * spins or sleeps when nobody calls. Turned down: OpenMP, whose pool hangs a forked child and which Apple's compiler
 * lacks, and a pool of our own, for the same reasons.
 */
#ifndef SN_PARALLEL_H
#define SN_PARALLEL_H

#include "sn_common.h"

#define SN_MAX_THREADS 64

typedef struct {
    void (*run)(void *job, int64_t index); /* task number `index` of `count` */
    int64_t count;
    void (*finish)(void *job); /* once, after the last task and before the next phase; may be NULL */
} sn_phase;

/* Runs the phases one after the other on at most `threads` threads, of which the caller is one. Cannot fail: where no
 * further thread can be had, the caller does it all. */
void sn_phases_run(const sn_phase *phases, int n_phases, void *job, int threads);

/* Processors that this process may use. */
int sn_processors(void);

#endif
