/* See parallel.h. */
#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define SN_MAX_PHASES 8
#define SPINS_BEFORE_YIELD 2000

/* How a thread rounds, and whether it takes tiny numbers for zero: each has settings of its own, and a kept one those
 * of the thread that started it. Elsewhere than here they are left alone. */
typedef uint64_t arithmetic;

static arithmetic arithmetic_of_thread(void) {
#if defined(__SSE2__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    arithmetic settings;
    __asm__ volatile("mrs %0, fpcr" : "=r"(settings));
    return settings;
#else
    return 0;
#endif
}

static void set_arithmetic(arithmetic settings) {
#if defined(__SSE2__)
    _mm_setcsr((unsigned)settings);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(settings));
#else
    (void)settings;
#endif
}

typedef struct {
    const sn_phase *phases;
    int n_phases;
    void *job;
    arithmetic settings; /* of the caller: results must not depend on who computes them */
    struct {
        _Alignas(64) _Atomic int64_t next; /* the first task that nobody has taken */
        _Atomic int64_t done;
        _Atomic int finished;
    } state[SN_MAX_PHASES];
} team;

/* How long a thread that has nothing to do waits for the next call before it sleeps. */
#define AWAKE_NANOSECONDS 200000
#define SPINS_PER_LOOK 64 /* at the clock */
#define STACK_BYTES (1 << 20)

/* The threads, and the call that has them. */
static struct {
    pthread_once_t once;
    pthread_mutex_t mutex;
    pthread_cond_t called;
    _Atomic int taken;      /* a call has the threads */
    _Atomic int64_t calls;  /* that there have been */
    team *of_call;          /* NULL: none is to be joined. This and what follows: under the mutex */
    int places;             /* threads that may still join it */
    int threads;            /* started */
    int sleeping;
    _Atomic int working;    /* threads that have joined the call and not left */
} pool = {.once = PTHREAD_ONCE_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER, .called = PTHREAD_COND_INITIALIZER};

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

static void run_alone(const sn_phase *phases, int n_phases, void *job) {
    for (int p = 0; p < n_phases; p++) {
        for (int64_t index = 0; index < phases[p].count; index++) phases[p].run(job, index);
        if (phases[p].finish != NULL) phases[p].finish(job);
    }
}

/* ---- the threads ---- */

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns when there have been more calls than `seen`, awake for so many nanoseconds, then asleep. */
static void wait_for_call(int64_t seen, int64_t awake) {
    int64_t end = awake > 0 ? nanoseconds() + awake : 0;
    while (end > 0 && nanoseconds() < end)
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (atomic_load_explicit(&pool.calls, memory_order_acquire) != seen) return;
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    pthread_mutex_lock(&pool.mutex);
    pool.sleeping++;
    while (atomic_load_explicit(&pool.calls, memory_order_relaxed) == seen)
        pthread_cond_wait(&pool.called, &pool.mutex);
    pool.sleeping--;
    pthread_mutex_unlock(&pool.mutex);
}

static void *serve(void *unused) {
    (void)unused;
    int64_t seen = 0;
    for (;;) {
        team *joined = NULL;
        pthread_mutex_lock(&pool.mutex);
        seen = atomic_load_explicit(&pool.calls, memory_order_relaxed);
        if (pool.of_call != NULL && pool.places > 0) {
            joined = pool.of_call;
            pool.places--;
            atomic_fetch_add_explicit(&pool.working, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&pool.mutex);
        if (joined != NULL) {
            set_arithmetic(joined->settings);
            work(joined);
            atomic_fetch_sub_explicit(&pool.working, 1, memory_order_release);
        }
        /* Of more threads than calls want, those that are not wanted would only take processors from the others. */
        wait_for_call(seen, joined != NULL ? AWAKE_NANOSECONDS : 0);
    }
    return NULL;
}

/* In a forked child, which has none of the threads; another thread's call may have been under way. */
static void forget_threads(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.called, NULL);
    pool.of_call = NULL;
    pool.places = pool.threads = pool.sleeping = 0;
    atomic_store(&pool.working, 0);
    atomic_store(&pool.taken, 0);
}

static void set_up_pool(void) { pthread_atfork(NULL, NULL, forget_threads); }

/* As many as are wanted, or fewer if the system has no more. The caller holds the mutex. */
static void start_threads(int wanted) {
    if (pool.threads >= wanted) return;
    /* Signals go to the threads of the program, which know what to do with them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* some systems' default would do for no task */
    pthread_t thread;
    while (pool.threads < wanted && pthread_create(&thread, &attributes, serve, NULL) == 0) pool.threads++;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
    team t = {.phases = phases, .n_phases = n_phases, .job = job, .settings = arithmetic_of_thread()};
    for (int p = 0; p < n_phases; p++) {
        atomic_init(&t.state[p].next, 0);
        atomic_init(&t.state[p].done, 0);
        atomic_init(&t.state[p].finished, phases[p].count == 0);
        if (phases[p].count == 0 && phases[p].finish != NULL) { /* nobody would be the last one */
            run_alone(phases, n_phases, job);
            return;
        }
    }
    pthread_once(&pool.once, set_up_pool); /* first, so that no child finds the threads taken for good */
    if (atomic_exchange_explicit(&pool.taken, 1, memory_order_acquire)) {
        run_alone(phases, n_phases, job);
        return;
    }
    pthread_mutex_lock(&pool.mutex);
    start_threads(threads - 1);
    pool.of_call = &t;
    pool.places = threads - 1;
    atomic_fetch_add_explicit(&pool.calls, 1, memory_order_release);
    /* Those that are awake will come by themselves. */
    for (int i = pool.threads - pool.sleeping; i < pool.places && i < pool.threads; i++)
        pthread_cond_signal(&pool.called);
    pthread_mutex_unlock(&pool.mutex);
    work(&t);
    pthread_mutex_lock(&pool.mutex);
    pool.of_call = NULL;
    pthread_mutex_unlock(&pool.mutex);
    int spins = 0;
    while (atomic_load_explicit(&pool.working, memory_order_acquire) > 0) rest(&spins);
    atomic_store_explicit(&pool.taken, 0, memory_order_release);
}

int sn_processors(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (int)n;
}
