/* Work on several threads: numbered tasks in phases, taken in order by whoever is free.
 *
 * A task knows only its number, never its thread, and tasks of one phase write to different places; so results do not
 * depend on how many threads there are or on which of them did what.
 *
 * Design: threads are started when they are first wanted and kept, in the one state that this library has between
 * calls. For a moment after a call they wait for the next one awake, then they sleep. Threads that lived as long as a
 * call cost it some 60 us, half of what a call on a million values takes: a processor that slept is slow to start. One
 * call has the threads at a time; a second one, from another thread of the program, does its work alone, as its
 * processors are busy. A forked child begins without threads. Turned down: OpenMP, whose threads hang a forked child,
 * and which Apple's compiler lacks.
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
 * further thread can be had, or another call has them, the caller does it all. */
void sn_phases_run(const sn_phase *phases, int n_phases, void *job, int threads);

/* Processors that this process may use. */
int sn_processors(void);

#endif
