/*
 * What the files of the load generator share. One idea each:
 *
 *     load.c        options, phases, the main loop, what is printed
 *     clocks.c      time, the server's processor time and memory, latencies
 *     connection.c  sockets, HTTP/1.1, RFC 6455, and what Engine.IO and Socket.IO say before a work begins
 *     echo.c        works: echo, binary
 *     room.c        works: fanout (with many rooms, two generations, churn, slow members)
 *     polling.c     works: polling-echo, polling-fanout
 *     connect.c     works: connect, connect-upgrade
 *     idle.c        works: idle, heartbeats
 *     listen.c      work: listen
 */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* ---------------------------------------------------------------- options and failure (load.c) */

enum { MAX_PIDS = 64, MAX_PORTS = 16, MAX_PAYLOAD = 1 << 16 };

typedef struct {
    const char *work;
    const char *host;
    const char *path;
    int ports[MAX_PORTS]; /* of one server; listen: of all, which the connections take in turn; polling-echo: of the server
                             that makes the sessions, and of the one that their requests go to */
    int port_count;
    int clients;        /* connections of echo, binary, idle and listen; polling clients; members of all rooms */
    int rooms;          /* fanout, listen: how many rooms the connections are in, each in one, in turn */
    int in_flight;      /* echo, binary: events without acknowledgement per connection; fanout: rooms that are spoken to at once */
    int object;         /* echo: 0 sends a string, 1 an object for an untyped handler, 2 the same for a typed one */
    int burst;          /* fanout: broadcasts at once */
    int eio3;           /* fanout: 1: each second member speaks Engine.IO 3 */
    int slow;           /* fanout: so many members never read */
    int churners;       /* fanout: so many more clients join or leave the room with each broadcast */
    double rate;        /* fanout: broadcasts per second; 0: the next one when all have got the last one */
    int concurrency;    /* how many connections may be in the making at a time */
    int payload;        /* bytes of the string, or of the attachment, that is sent */
    double warmup;      /* seconds */
    double seconds;     /* length of the measured window */
    double settle;      /* idle: seconds between the last connect and the reading of memory */
    double deadline;    /* seconds for the whole run */
    long max_operations;
    pid_t pids[MAX_PIDS]; /* the server's process tree */
    int pid_count;
    int core;             /* the core that the server is pinned to, -1: not said */
} Options;

extern Options option;

enum Phase { PREPARE, WARMUP, MEASURE, DRAIN, DONE };

extern enum Phase phase;
extern uint64_t phase_began;
extern long operations;                 /* in the measured window */
extern long sent_total, answered_total; /* in the whole run */

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *grown(void *memory, size_t size);
void *zeroed(size_t count, size_t size);
void enter(enum Phase next, uint64_t now);
void advance(uint64_t now);

/* How much of a text a message on stderr shows. */
static inline int shown(size_t length) { return (int)(length > 300 ? 300 : length); }

/* ---------------------------------------------------------------- clocks, processor time, memory, latencies (clocks.c) */

uint64_t monotonic(void);
uint64_t own_cpu(void);
uint64_t server_cpu(void);
uint64_t core_idle(void);
uint64_t server_rss(void);
void sample(uint64_t elapsed);
void forget_samples(void);
size_t sort_samples(void);
double percentile(double share);

/* ---------------------------------------------------------------- connections (connection.c) */

enum State {
    CLOSED,
    DIALLING,   /* TCP */
    UPGRADING,  /* the answer 101 */
    OPENING,    /* Engine.IO's open packet */
    PROBING,    /* the answer to the probe of a session that polls until now */
    JOINING,    /* Socket.IO's answer to CONNECT */
    READY,      /* connected */
    CLOSING,    /* our Close frame is sent; the server's Close frame and the end of the stream must come */
    HTTP,       /* a keep-alive connection of a polling client */
};

typedef struct { char *bytes; size_t length, capacity; } Buffer;
typedef struct { uint64_t sent; uint32_t id; bool busy; } Slot; /* one event that waits for its acknowledgement */

typedef struct Connection {
    int fd;
    int index;
    int port;                 /* where to; 0: the first one */
    int generation;           /* of Engine.IO; 0: 4 */
    bool narrow;              /* the kernels keep little for it, as between machines, and not megabytes as on loopback */
    enum State state;
    bool wants_write;         /* EPOLLOUT is armed */
    bool deaf;                /* it is never read; work->on_lost when the server ends it */
    bool close_seen;          /* CLOSING: the server's Close frame has come */
    bool http_waiting;        /* HTTP: a request is under way */
    bool pong_due;            /* Engine.IO 3: our ping is not answered yet */
    int pings;                /* Engine.IO 4: how many came */
    const char *sid;          /* of the session that it upgrades; NULL: it opens its own */
    uint64_t dialled;
    uint64_t connected_after; /* connect: how long it took until the answer to CONNECT */
    uint64_t pinged;          /* Engine.IO 3: when our last ping went */
    void *own;                /* what the work keeps for it */
    Buffer in, out;           /* an incomplete message; bytes not yet given to the kernel */
} Connection;

/* What a work does with its connections. */
typedef struct {
    const char *name;
    void (*start)(void);
    void (*on_ready)(Connection *, uint64_t now);
    void (*on_message)(Connection *, const char *text, size_t length, uint64_t now); /* after Engine.IO's '4' */
    void (*on_binary)(Connection *, const char *bytes, size_t length, uint64_t now);
    void (*on_closed)(Connection *, uint64_t now);
    void (*on_lost)(Connection *); /* the server ended a deaf one */
    void (*on_probed)(Connection *, uint64_t now);
    void (*on_tick)(uint64_t now);
    void (*on_timer)(uint64_t times, uint64_t now); /* see every() */
    void (*on_stdin)(const char *line, uint64_t now);
    void (*on_http)(Connection *, int status, char *body, size_t length, uint64_t now);
    void (*print)(void);
} Work;

extern const Work *work;
extern Connection *connections;
extern int connection_count;
extern int ready_count;
extern int next_to_dial;
extern int dialling_count;
extern int ping_interval_ms; /* as the server said */

void create_connections(int count);
void append(Buffer *buffer, const void *bytes, size_t length);
void flush(Connection *connection);
void frame(Connection *connection, unsigned opcode, const char *payload, size_t length);
void text_frame(Connection *connection, const char *text, size_t length);
void close_frame(Connection *connection);
void dial(Connection *connection, enum State state, uint64_t now);
void dial_more(uint64_t now);
void hang_up(Connection *connection);
void deafen(Connection *connection);
void http_request(Connection *connection, const char *sid, const char *body, size_t length);
void keep_alive(uint64_t now);
void every(double seconds);
void open_epoll(void);
void watch_stdin(void);
void wait_for_events(int milliseconds);

/* Writes a number; returns the place behind it. printf() would be a third of what an echo costs us. */
static inline char *put_number(char *at, unsigned long number, unsigned base)
{
    char digits[24];
    int count = 0;
    do digits[count++] = "0123456789abcdef"[number % base];
    while ((number /= base) > 0);
    while (count > 0) *at++ = digits[--count];
    return at;
}

bool starts_with(const char *text, size_t length, const char *prefix);
bool equals(const char *text, size_t length, const char *other);
void copy_sid(char *sid, size_t size, const char *open, size_t length);
void fill_payload(char *text, unsigned long first, unsigned long second);

/* ---------------------------------------------------------------- what works share */

/* echo.c: `<prefix><id>[<middle>"<payload>"<end>`; the payload is a function of index and id. In a buffer of its own. */
extern char *echo_text;
size_t echo_packet(const char *prefix, int index, uint32_t id, const char *middle, const char *end);

/* room.c: who hears what is said in a room, over whatever transport. */
typedef struct Room Room;
typedef struct { Room *room; long heard; bool joined, slow; } Member;

extern Connection *publisher; /* speaks to all rooms and is in none */
void create_rooms(int count);
void create_publisher(Connection *connection);
int join_packet(char *text, size_t size, const char *prefix, int room);
void member_joins(Member *member, int room);
void member_joined(Member *member, int index);
void member_hears(Member *member, int index, const char *text, size_t length, uint64_t now);
void rooms_begin(uint64_t now);
void rooms_end(uint64_t now);

extern const Work echo_work, binary_work, fanout_work, polling_echo_work, polling_fanout_work, connect_work,
    connect_upgrade_work, idle_work, heartbeats_work, listen_work;

#endif
