/* See parallel.h. */
#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define SN_MAX_PHASES 8
#define SPINS_BEFORE_YIELD 2000

typedef struct {
    const sn_phase *phases;
    int n_phases;
    void *job;
    struct {
        _Alignas(64) _Atomic int64_t next; /* the first task that nobody has taken */
        _Atomic int64_t done;
        _Atomic int finished;
    } state[SN_MAX_PHASES];
} team;

static void rest(int *spins) {
    if (++*spins > SPINS_BEFORE_YIELD) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(team *t) {
    for (int p = 0; p < t->n_phases; p++) {
        const sn_phase *phase = &t->phases[p];
        for (;;) {
            int64_t index = atomic_fetch_add_explicit(&t->state[p].next, 1, memory_order_relaxed);
            if (index >= phase->count) break;
            phase->run(t->job, index);
            /* The last one to be done has seen what all others wrote. */
            if (atomic_fetch_add_explicit(&t->state[p].done, 1, memory_order_acq_rel) == phase->count - 1) {
                if (phase->finish != NULL) phase->finish(t->job);
                atomic_store_explicit(&t->state[p].finished, 1, memory_order_release);
            }
        }
        int spins = 0;
        while (!atomic_load_explicit(&t->state[p].finished, memory_order_acquire)) rest(&spins);
    }
}

static void *work_in_thread(void *t) {
    work(t);
    return NULL;
}

static void run_alone(const sn_phase *phases, int n_phases, void *job) {
    for (int p = 0; p < n_phases; p++) {
        for (int64_t index = 0; index < phases[p].count; index++) phases[p].run(job, index);
        if (phases[p].finish != NULL) phases[p].finish(job);
    }
}

void sn_phases_run(const sn_phase *phases, int n_phases, void *job, int threads) {
    int64_t most = 0;
    for (int p = 0; p < n_phases; p++)
        if (phases[p].count > most) most = phases[p].count;
    if (threads > most) threads = (int)most;
    if (threads > SN_MAX_THREADS) threads = SN_MAX_THREADS;
    if (threads <= 1) {
        run_alone(phases, n_phases, job);
        return;
    }
    team t = {.phases = phases, .n_phases = n_phases, .job = job};
    for (int p = 0; p < n_phases; p++) {
        atomic_init(&t.state[p].next, 0);
        atomic_init(&t.state[p].done, 0);
        atomic_init(&t.state[p].finished, phases[p].count == 0);
        if (phases[p].count == 0 && phases[p].finish != NULL) { /* nobody would be the last one */
            run_alone(phases, n_phases, job);
            return;
        }
    }
    /* Signals go to the threads of the program, which know what to do with them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread[SN_MAX_THREADS];
    int started = 0;
    while (started < threads - 1 && pthread_create(&thread[started], NULL, work_in_thread, &t) == 0) started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(&t);
    for (int i = 0; i < started; i++) pthread_join(thread[i], NULL);
}

int sn_processors(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}
