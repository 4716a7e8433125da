/* Clocks, the server's processor time and memory, and latencies. */
#include "load.h"

#include <time.h>
#include <unistd.h>

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) die("a process of the server is gone, or its CPU clock is not readable");
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t monotonic(void) { return nanoseconds(CLOCK_MONOTONIC); }

uint64_t own_cpu(void) { return nanoseconds(CLOCK_PROCESS_CPUTIME_ID); }

/*
 * The server's CPU time is read here and not by the caller, so that it covers exactly the measured window:
 * clock_getcpuclockid() gives utime + stime of a whole process, finished threads included, in nanoseconds
 * (/proc/<pid>/stat has the same sum in ticks of 10 ms).
 */
uint64_t server_cpu(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < option.pid_count; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(option.pids[i], &clock) != 0) die("process %d of the server is gone", (int)option.pids[i]);
        sum += nanoseconds(clock);
    }
    return sum;
}

/*
 * How long the server's core has been idle, from /proc/stat (in ticks). What is left of the measured window after this
 * and the server's own time was taken by strangers: other processes, or the host (steal).
 */
uint64_t core_idle(void)
{
    char line[512], name[16];
    unsigned long long idle = 0, waiting = 0;
    if (option.core < 0) return 0;
    snprintf(name, sizeof name, "cpu%d ", option.core);
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL) die("/proc/stat: %s", strerror(errno));
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) != 0) continue;
        if (sscanf(line, "%*s %*u %*u %*u %llu %llu", &idle, &waiting) != 2) die("/proc/stat: %s", line);
    }
    fclose(file);
    return (idle + waiting) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Resident memory of the server's process tree in bytes. */
uint64_t server_rss(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < option.pid_count; i++) {
        char name[64], line[256];
        unsigned long kilobytes = 0;
        bool found = false;
        snprintf(name, sizeof name, "/proc/%d/smaps_rollup", (int)option.pids[i]);
        FILE *file = fopen(name, "r");
        if (file == NULL) die("%s: %s", name, strerror(errno));
        while (!found && fgets(line, sizeof line, file)) found = sscanf(line, "Rss: %lu kB", &kilobytes) == 1;
        fclose(file);
        if (!found) die("%s has no line Rss", name);
        sum += (uint64_t)kilobytes * 1024u;
    }
    return sum;
}

/* ---------------------------------------------------------------- latencies */

static struct { uint32_t *values; size_t count, capacity; } samples; /* in units of 10 ns: up to 42 s */

void sample(uint64_t elapsed)
{
    if (samples.count == samples.capacity) {
        samples.capacity = samples.capacity ? samples.capacity * 2 : 1 << 16;
        samples.values = grown(samples.values, samples.capacity * sizeof *samples.values);
    }
    elapsed /= 10;
    samples.values[samples.count++] = elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

void forget_samples(void) { samples.count = 0; }

static int compare_samples(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Returns how many there are. */
size_t sort_samples(void)
{
    if (samples.count > 0) qsort(samples.values, samples.count, sizeof *samples.values, compare_samples);
    return samples.count;
}

/* Nearest rank, in microseconds; the samples must be sorted. */
double percentile(double share)
{
    if (samples.count == 0) return 0.0;
    size_t rank = (size_t)(share * (double)samples.count + 0.999999);
    return samples.values[rank == 0 ? 0 : rank - 1] / 100.0;
}
