/*
 * Works: idle (what a connected client costs in memory) and heartbeats (the same, and what it costs in processor time that all
 * are asked now and then whether they are still there). Before the first reading of memory some clients come and go.
 */
#include "load.h"

static uint64_t rss_before, rss_after;
static int warm;   /* connections that come and go before the first reading */
static bool begun; /* that one has been made */

static void start(void)
{
    create_connections(option.clients);
    warm = option.concurrency < option.clients ? option.concurrency : option.clients;
    next_to_dial = connection_count; /* the main loop dials nothing by itself yet */
    uint64_t now = monotonic();
    for (int i = 0; i < warm; i++) {
        dialling_count++;
        dial(&connections[i], DIALLING, now);
    }
}

static void ready(Connection *connection, uint64_t now)
{
    (void)now;
    if (begun) return;
    close_frame(connection);
    ready_count--;
}

static void closed(Connection *connection, uint64_t now)
{
    (void)connection;
    if (--warm == 0) phase_began = now;
}

static bool settled(uint64_t now) { return now - phase_began > (uint64_t)(option.settle * 1e9); }

/* The ones that came first are gone, and it is quiet: the first reading. Returns whether it has been made right now. */
static bool read_before(uint64_t now)
{
    if (phase != PREPARE || begun || warm > 0 || !settled(now)) return false;
    rss_before = server_rss();
    begun = true;
    next_to_dial = 0; /* go */
    return true;
}

static void print_memory(void)
{
    printf(",\"rss_before\":%llu,\"rss_after\":%llu,\"bytes_per_client\":%.1f", (unsigned long long)rss_before,
           (unsigned long long)rss_after, ((double)rss_after - (double)rss_before) / option.clients);
}

/* ---------------------------------------------------------------- idle */

static void idle_tick(uint64_t now)
{
    if (read_before(now)) {
        enter(MEASURE, now);
    } else if (phase == MEASURE && ready_count == connection_count) {
        operations = ready_count;
        enter(DRAIN, now);
    } else if (phase == DRAIN && settled(now)) {
        rss_after = server_rss(); /* all are still connected: an ended stream would have ended us */
        phase = DONE;
    }
}

const Work idle_work = {
    .name = "idle", .start = start, .on_ready = ready, .on_closed = closed, .on_tick = idle_tick, .print = print_memory,
};

/* ---------------------------------------------------------------- heartbeats */

/*
 * The window begins --settle seconds after the last connect. The caller has told the server to ping more often than it does by
 * itself; in the window each client must hear as many pings as fit in, but for one at a border.
 */
static long pings_due, pings_heard;

static void count_pings(void)
{
    if (ping_interval_ms == 0) die("the server does not say how often it pings");
    pings_due = (long)((double)(option.seconds * 1000) / ping_interval_ms) - 1;
    if (pings_due < 1) die("a window of %g s is too short for pings each %d ms", option.seconds, ping_interval_ms);
    for (int i = 0; i < connection_count; i++) {
        pings_heard += connections[i].pings;
        if (connections[i].pings < pings_due) die("connection %d: %d pings where %ld were due", i, connections[i].pings, pings_due);
    }
}

static void heartbeats_tick(uint64_t now)
{
    read_before(now);
    if (phase == PREPARE && begun && ready_count == connection_count) {
        enter(WARMUP, now);
    } else if (phase == WARMUP && settled(now)) {
        for (int i = 0; i < connection_count; i++) connections[i].pings = 0;
        enter(MEASURE, now);
    } else if (phase == MEASURE && (double)(now - phase_began) / 1e9 >= option.seconds) {
        operations = (long)(option.clients * ((double)(now - phase_began) / 1e9));
        enter(DRAIN, now);
        count_pings();
        rss_after = server_rss();
        phase = DONE;
    }
}

static void heartbeats_print(void)
{
    print_memory();
    printf(",\"heartbeats\":%ld,\"ping_interval_ms\":%d", pings_heard, ping_interval_ms);
}

const Work heartbeats_work = {
    .name = "heartbeats", .start = start, .on_ready = ready, .on_closed = closed, .on_tick = heartbeats_tick,
    .print = heartbeats_print,
};
