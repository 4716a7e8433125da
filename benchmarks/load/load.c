/*
 * The load generator of Madang's benchmarks: one process, one thread, epoll.
 *
 * It speaks the real protocol: an HTTP/1.1 upgrade to RFC 6455 with masked frames (or HTTP long-polling), and in
 * it Engine.IO 4 and Socket.IO 5: open packet, CONNECT, events, acknowledgements, and pongs for the server's pings.
 * Every answer is compared byte for byte with what must come. A wrong, missing or surplus answer ends the process
 * with status 1 and a message on stderr; figures are printed (one JSON object on stdout) only if all was right.
 *
 * A run has these phases:
 *
 *     PREPARE   clients connect, join rooms              (not measured)
 *     WARMUP    the work runs                            (not measured)
 *     MEASURE   the work runs between two readings of the clock and of the server's CPU time
 *     DRAIN     nothing new is started; everything outstanding must still be answered
 *
 * usage() has the works and the options. This file has the options, the phases and the main loop.
 */
#include "load.h"

#include <stdarg.h>
#include <sys/resource.h>

Options option = {
    .host = "127.0.0.1", .path = "/socket.io/", .clients = 50, .rooms = 1, .in_flight = 1, .burst = 1, .concurrency = 50,
    .payload = 64, .warmup = 1.0, .seconds = 3.0, .settle = 1.0, .deadline = 60.0, .max_operations = 20000000,
    .core = -1,
};

enum Phase phase = PREPARE;
uint64_t phase_began;
long operations, sent_total, answered_total;

static const char *const phase_names[] = {"prepare", "warm-up", "measure", "drain", "done"};
static struct { uint64_t time, cpu, idle, load; } from, to; /* the borders of the measured window */

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: %s (phase %s): ", option.work ? option.work : "?", phase_names[phase]);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void *grown(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (memory == NULL) die("out of memory (%zu bytes)", size);
    return memory;
}

void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) die("out of memory (%zu x %zu bytes)", count, size);
    return memory;
}

/* ---------------------------------------------------------------- phases */

void enter(enum Phase next, uint64_t now)
{
    phase = next;
    phase_began = now;
    if (next == MEASURE) {
        operations = 0;
        forget_samples();
        from.load = own_cpu();
        from.idle = core_idle();
        from.cpu = server_cpu();
        from.time = monotonic();
    } else if (next == DRAIN) {
        to.time = monotonic();
        to.cpu = server_cpu();
        to.idle = core_idle();
        to.load = own_cpu();
    }
}

/* Moves on when the time (or the number of operations) of a phase is over. */
void advance(uint64_t now)
{
    double elapsed = (double)(now - phase_began) / 1e9;
    if (phase == WARMUP && elapsed >= option.warmup) {
        enter(MEASURE, now);
    } else if (phase == MEASURE && operations > 0 && (elapsed >= option.seconds || operations >= option.max_operations)) {
        enter(DRAIN, now);
    }
}

static void print_result(void)
{
    double elapsed = (double)(to.time - from.time) / 1e9, cpu = (double)(to.cpu - from.cpu) / 1e9;
    size_t samples = sort_samples();
    printf("{\"work\":\"%s\",\"operations\":%ld,\"seconds\":%.6f,\"per_second\":%.2f", option.work, operations, elapsed,
           (double)operations / elapsed);
    if (option.pid_count > 0)
        printf(",\"cpu_seconds\":%.6f,\"cpu_us_per_operation\":%.4f,\"server_share\":%.4f", cpu, cpu * 1e6 / (double)operations,
               cpu / elapsed);
    if (option.pid_count > 0 && option.core >= 0) {
        double strangers = 1.0 - (double)(to.idle - from.idle) / 1e9 / elapsed - cpu / elapsed;
        printf(",\"strangers_share\":%.4f", strangers > 0.0 ? strangers : 0.0);
    }
    printf(",\"load_share\":%.4f", (double)(to.load - from.load) / 1e9 / elapsed);
    if (samples > 0)
        printf(",\"latency_us\":{\"p50\":%.2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"samples\":%zu}", percentile(0.50),
               percentile(0.95), percentile(0.99), percentile(1.0), samples);
    if (work->print) work->print();
    printf("}\n");
    if (fflush(stdout) != 0) die("stdout: %s", strerror(errno));
}

/* ---------------------------------------------------------------- options */

static const Work *const works[] = {
    &echo_work, &binary_work, &fanout_work, &polling_echo_work, &polling_fanout_work, &connect_work, &connect_upgrade_work,
    &idle_work, &heartbeats_work, &listen_work,
};

__attribute__((noreturn)) static void usage(void)
{
    fprintf(stderr, "usage: load WORK --port N... [--host IPV4] [--path /socket.io/] [--pid PID]... [--clients N] [--in-flight N]\n"
                    "            [--object 0-2] [--rooms N] [--burst N] [--eio3 0-1] [--churners N] [--rate R] [--slow N]\n"
                    "            [--concurrency N] [--payload BYTES] [--warmup S] [--seconds S] [--settle S] [--deadline S]\n"
                    "            [--max-operations N] [--core N]\n"
                    "WORK: ");
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) fprintf(stderr, "%s%s", i ? ", " : "", works[i]->name);
    fputc('\n', stderr);
    exit(2);
}

static double number(const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= least && value <= most)) {
        fprintf(stderr, "load: %s is not a number from %g to %g\n", text, least, most);
        exit(2);
    }
    return value;
}

static void parse_options(int count, char **arguments)
{
    static const struct { const char *name; int *value; double least, most; } integers[] = {
        {"--clients", &option.clients, 1, 100000},
        {"--rooms", &option.rooms, 1, 100000},
        {"--in-flight", &option.in_flight, 1, 10000},
        {"--object", &option.object, 0, 2},
        {"--burst", &option.burst, 1, 10000},
        {"--eio3", &option.eio3, 0, 1},
        {"--churners", &option.churners, 0, 100000},
        {"--slow", &option.slow, 0, 100000},
        {"--concurrency", &option.concurrency, 1, 4096},
        {"--payload", &option.payload, 16, MAX_PAYLOAD},
        {"--core", &option.core, 0, 4095},
    };
    static const struct { const char *name; double *value, least, most; } reals[] = {
        {"--rate", &option.rate, 0, 100000},
        {"--warmup", &option.warmup, 0, 60},
        {"--seconds", &option.seconds, 0.01, 120},
        {"--settle", &option.settle, 0, 60},
        {"--deadline", &option.deadline, 0.1, 600},
    };
    if (count < 2) usage();
    option.work = arguments[1];
    for (int i = 2; i < count; i += 2) {
        const char *name = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
        bool known = false;
        if (value == NULL) usage();
        for (size_t k = 0; k < sizeof integers / sizeof *integers; k++)
            if (strcmp(name, integers[k].name) == 0) {
                *integers[k].value = (int)number(value, integers[k].least, integers[k].most);
                known = true;
            }
        for (size_t k = 0; k < sizeof reals / sizeof *reals; k++)
            if (strcmp(name, reals[k].name) == 0) {
                *reals[k].value = number(value, reals[k].least, reals[k].most);
                known = true;
            }
        if (known) continue;
        if (strcmp(name, "--host") == 0) option.host = value;
        else if (strcmp(name, "--path") == 0) option.path = value;
        else if (strcmp(name, "--max-operations") == 0) option.max_operations = (long)number(value, 1, 1e9);
        else if (strcmp(name, "--port") == 0 && option.port_count < MAX_PORTS) option.ports[option.port_count++] = (int)number(value, 1, 65535);
        else if (strcmp(name, "--pid") == 0 && option.pid_count < MAX_PIDS) option.pids[option.pid_count++] = (pid_t)number(value, 1, 1e9);
        else usage();
    }
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (strcmp(works[i]->name, option.work) == 0) work = works[i];
    if (work == NULL || option.port_count == 0) usage();
}

int main(int count, char **arguments)
{
    parse_options(count, arguments);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    open_epoll();
    uint64_t began = phase_began = monotonic();
    work->start();
    if (limit.rlim_cur < (rlim_t)connection_count + 16) die("%d connections need more descriptors than %lu", connection_count, (unsigned long)limit.rlim_cur);
    while (phase != DONE) {
        dial_more(monotonic());
        wait_for_events(5);
        uint64_t now = monotonic();
        keep_alive(now);
        if (work->on_tick) work->on_tick(now);
        if ((double)(now - began) / 1e9 > option.deadline)
            die("not finished after %g s: %d of %d connected, %ld of %ld answers came", option.deadline, ready_count, connection_count,
                answered_total, sent_total);
    }
    if (!work->on_stdin) print_result();
    return 0;
}
