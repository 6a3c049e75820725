// Reads clocks by way of the vDSO, each reading between two of the kernel itself.
//   victim check OFFSET THREADS SECONDS   until SIGTERM at the latest: realtime is true, or OFFSET nanoseconds off; nothing between
//   victim model CLOCK SECONDS            lines of: kernel, reading, kernel
//   victim cost OFFSET SECONDS            picoseconds of a reading: true, bent, by a system call
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef long long ns;

static ns of(const struct timespec *t) { return t->tv_sec * 1000000000LL + t->tv_nsec; }

static ns raw(clockid_t clock) {
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t);
    return of(&t);
}

static ns read_clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) || t.tv_nsec < 0 || t.tv_nsec > 999999999) abort();
    return of(&t);
}

static ns offset;
static atomic_int over;
static atomic_llong seen_true, seen_bent;

static void end(int signal) {
    (void)signal;
    over = 1;
}

static void bad(const char *what, ns before, ns reading, ns after) {
    printf("bad %s: %lld between %lld and %lld\n", what, reading, before, after);
    fflush(stdout);
    abort();
}

// 0: as it is. 1: off. A coarse reading may be as old as `slack`.
static int judge(const char *what, ns before, ns reading, ns after, ns slack) {
    if (before - slack <= reading && reading <= after) return 0;
    if (before + offset - slack <= reading && reading <= after + offset) return 1;
    bad(what, before, reading, after);
    return 0;
}

static int look(void) {
    ns before = raw(CLOCK_REALTIME);
    ns reading = read_clock(CLOCK_REALTIME);
    ns after = raw(CLOCK_REALTIME);
    int bent = judge("clock_gettime", before, reading, after, 0);
    atomic_fetch_add(bent ? &seen_bent : &seen_true, 1);

    struct timeval v;
    before = raw(CLOCK_REALTIME);
    gettimeofday(&v, NULL);
    after = raw(CLOCK_REALTIME);
    judge("gettimeofday", before, v.tv_sec * 1000000000LL + v.tv_usec * 1000LL, after, 1000);

    before = raw(CLOCK_REALTIME);
    reading = time(NULL) * 1000000000LL;
    after = raw(CLOCK_REALTIME);
    judge("time", before, reading, after, 1200000000LL);

    before = raw(CLOCK_REALTIME);
    reading = read_clock(CLOCK_REALTIME_COARSE);
    after = raw(CLOCK_REALTIME);
    judge("coarse", before, reading, after, 200000000LL);

    before = raw(CLOCK_MONOTONIC);
    reading = read_clock(CLOCK_MONOTONIC);
    after = raw(CLOCK_MONOTONIC);
    if (reading < before || reading > after) bad("monotonic", before, reading, after);
    return bent;
}

static void *hammer(void *odd) {
    struct timespec t;
    struct timeval v;
    while (!over) {
        if (odd) {
            look();
        } else {
            clock_gettime(CLOCK_REALTIME, &t);
            gettimeofday(&v, NULL);
            time(NULL);
        }
    }
    return NULL;
}

static int check(int threads, ns nanos) {
    pthread_t others[256];
    for (long i = 1; i < threads; i++) pthread_create(&others[i], NULL, hammer, (void *)(i & 1));
    ns until = raw(CLOCK_MONOTONIC) + nanos;
    int was = -1;
    while (!over && raw(CLOCK_MONOTONIC) < until) {
        int bent = look();
        if (bent != was) {
            printf("%s %lld\n", bent ? "bent" : "true", raw(CLOCK_MONOTONIC));
            fflush(stdout);
        }
        was = bent;
        if (threads == 1) usleep(200);
    }
    over = 1;
    for (int i = 1; i < threads; i++) pthread_join(others[i], NULL);
    printf("done %lld %lld\n", (ns)seen_true, (ns)seen_bent);
    return 0;
}

static int model(clockid_t clock, ns nanos) {
    ns until = raw(CLOCK_MONOTONIC) + nanos;
    while (raw(CLOCK_MONOTONIC) < until) {
        ns before = raw(clock);
        ns reading = read_clock(clock);
        ns after = raw(clock);
        printf("%lld %lld %lld\n", before, reading, after);
        fflush(stdout);
        usleep(1000);
    }
    return 0;
}

// The least of many rounds, of rounds in which the clock was true and of those in which it was not.
static int cost(ns nanos) {
    enum { CALLS = 2000 };
    double best[3] = {1e18, 1e18, 1e18};
    struct timespec t;
    ns until = raw(CLOCK_MONOTONIC) + nanos;
    while (!over && raw(CLOCK_MONOTONIC) < until) {
        int bent = look();
        ns start = raw(CLOCK_MONOTONIC);
        for (int i = 0; i < CALLS; i++) clock_gettime(CLOCK_REALTIME, &t);
        double took = (raw(CLOCK_MONOTONIC) - start) / (double)CALLS;
        if (look() == bent && took < best[bent]) best[bent] = took;
        start = raw(CLOCK_MONOTONIC);
        for (int i = 0; i < CALLS / 10; i++) syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
        took = (raw(CLOCK_MONOTONIC) - start) / (double)(CALLS / 10);
        if (took < best[2]) best[2] = took;
    }
    printf("%.0f %.0f %.0f\n", best[0] * 1000, best[1] * 1000, best[2] * 1000);
    return 0;
}

int main(int argc, char **argv) {
    signal(SIGTERM, end);
    ns nanos = argc > 1 ? (ns)(atof(argv[argc - 1]) * 1e9) : 0;
    if (argc == 5 && !strcmp(argv[1], "check")) {
        offset = atoll(argv[2]);
        return check(atoi(argv[3]), nanos);
    }
    if (argc == 4 && !strcmp(argv[1], "cost")) {
        offset = atoll(argv[2]);
        return cost(nanos);
    }
    if (argc == 4 && !strcmp(argv[1], "model")) return model(atoi(argv[2]), nanos);
    return 2;
}
