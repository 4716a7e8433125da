/*
 * Work: listen. It only hears what servers say by themselves, has no phases, and is told over stdin when to report.
 *
 * The connections go to all ports in turn, and join the rooms bench-0, bench-1, ... in turn. Servers then emit by themselves
 * tick(n, payload), where n counts the events of each room from 0, and the payload of --payload characters begins with the
 * time of CLOCK_MONOTONIC in nanoseconds: all are on one machine, so it is one clock.
 *
 * Events that come in another order than they were emitted in are counted; whether some are missing, the caller knows.
 *
 * When all have joined, a line {"ready":n} comes. On a line "mark" on stdin the figures since the last mark come as a line of
 * JSON; "quit", or the end of stdin, ends it.
 */
#include "load.h"

static long heard[MAX_PORTS], disordered;
static int joined;
static long *expected; /* by connection: which event comes next; -1: it has not joined yet */
static uint64_t marked; /* our processor time at the last mark */

static void start(void)
{
    if (option.payload < 32) die("--payload is too small for the time");
    create_connections(option.clients);
    expected = zeroed((size_t)connection_count, sizeof *expected);
    for (int i = 0; i < connection_count; i++) {
        connections[i].port = option.ports[i % option.port_count];
        expected[i] = -1;
    }
    watch_stdin();
}

static void ready(Connection *connection, uint64_t now)
{
    (void)now;
    char packet[64];
    int length = snprintf(packet, sizeof packet, "420[\"join\",\"bench-%d\"]", connection->index % option.rooms);
    text_frame(connection, packet, (size_t)length);
}

static void message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    if (expected[connection->index] < 0) {
        if (!equals(text, length, "30[]")) die("connection %d: answer to join: %.*s", connection->index, (int)length, text);
        expected[connection->index] = 0;
        if (++joined == connection_count) {
            printf("{\"ready\":%d}\n", connection_count);
            fflush(stdout);
        }
        return;
    }
    static const char start[] = "2[\"tick\",";
    char *end = NULL;
    long number = starts_with(text, length, start) ? strtol(text + sizeof start - 1, &end, 10) : -1;
    if (number < 0 || !starts_with(end, (size_t)(text + length - end), ",\"") ||
        length != (size_t)(end - text) + 2 + (size_t)option.payload + 2)
        die("connection %d: got %.*s where event %ld was due", connection->index, shown(length), text,
            expected[connection->index]);
    if (number != expected[connection->index]) disordered++;
    uint64_t said = strtoull(end + 2, NULL, 10);
    if (said == 0 || said > now) die("connection %d: strange time %llu", connection->index, (unsigned long long)said);
    expected[connection->index]++;
    heard[connection->index % option.port_count]++;
    sample(now - said);
}

static void told(const char *line, uint64_t now)
{
    (void)now;
    if (line == NULL || strcmp(line, "quit") == 0) {
        phase = DONE;
        return;
    }
    if (strcmp(line, "mark") != 0) die("mark or quit, not %s", line);
    uint64_t cpu = own_cpu();
    printf("{\"received\":[");
    for (int i = 0; i < option.port_count; i++) printf("%s%ld", i ? "," : "", heard[i]);
    printf("],\"disordered\":%ld,\"cpu_seconds\":%.6f", disordered, (double)(cpu - marked) / 1e9);
    size_t samples = sort_samples();
    printf(",\"latency_us\":{\"p50\":%.2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"samples\":%zu}}\n", percentile(0.50),
           percentile(0.95), percentile(0.99), percentile(1.0), samples);
    fflush(stdout);
    memset(heard, 0, sizeof heard);
    forget_samples();
    disordered = 0;
    marked = own_cpu();
}

const Work listen_work = {
    .name = "listen", .start = start, .on_ready = ready, .on_message = message, .on_stdin = told,
};
