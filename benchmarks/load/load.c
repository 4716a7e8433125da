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
 * The server's CPU time is read here and not by the caller, so that it covers exactly the measured window:
 * clock_getcpuclockid() gives utime + stime of a whole process, finished threads included, in nanoseconds
 * (/proc/<pid>/stat has the same sum in ticks of 10 ms).
 *
 * Works:  echo  fanout  connect  idle  polling-echo  listen        (see usage() for the options)
 *
 * listen is of another kind: it only hears what servers say by themselves, has no phases, and is told over stdin when to
 * report. See there.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---------------------------------------------------------------- options and failure */

enum { MAX_PIDS = 64, MAX_PORTS = 16, READ_SIZE = 1 << 18, MAX_EVENTS = 1024, MAX_PAYLOAD = 1 << 16 };

static struct {
    const char *work;
    const char *host;
    const char *path;
    int ports[MAX_PORTS]; /* of one server; listen: of all, which the connections take in turn; polling-echo: of the server
                             that makes the sessions, and of the one that their requests go to */
    int port_count;
    int clients;        /* connections of echo, polling-echo, idle and listen; subscribers of fanout */
    int rooms;          /* listen: how many rooms the connections are in, each in one, in turn */
    int in_flight;      /* echo: events without acknowledgement per connection */
    int object;         /* echo: 0 sends a string, 1 an object for an untyped handler, 2 the same for a typed one */
    int burst;          /* fanout: broadcasts at once */
    int concurrency;    /* how many connections may be in the making at a time */
    int payload;        /* bytes of the string that is sent */
    double warmup;      /* seconds */
    double seconds;     /* length of the measured window */
    double settle;      /* idle: seconds between the last connect and the reading of memory */
    double deadline;    /* seconds for the whole run */
    long max_operations;
    pid_t pids[MAX_PIDS]; /* the server's process tree */
    int pid_count;
    int core;             /* the core that the server is pinned to, -1: not said */
} option = {
    .host = "127.0.0.1", .path = "/socket.io/", .clients = 50, .rooms = 1, .in_flight = 1, .burst = 1, .concurrency = 50,
    .payload = 64, .warmup = 1.0, .seconds = 3.0, .settle = 1.0, .deadline = 60.0, .max_operations = 20000000,
    .core = -1,
};

enum Phase { PREPARE, WARMUP, MEASURE, DRAIN, DONE };
static const char *const phase_names[] = {"prepare", "warm-up", "measure", "drain", "done"};
static enum Phase phase = PREPARE;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: %s (phase %s): ", option.work ? option.work : "?", phase_names[phase]);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *grown(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (memory == NULL) die("out of memory (%zu bytes)", size);
    return memory;
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) die("out of memory (%zu x %zu bytes)", count, size);
    return memory;
}

/* ---------------------------------------------------------------- clocks, processor time, memory */

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) die("a process of the server is gone, or its CPU clock is not readable");
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t monotonic(void) { return nanoseconds(CLOCK_MONOTONIC); }

static uint64_t server_cpu(void)
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
static uint64_t core_idle(void)
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
static uint64_t server_rss(void)
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

static void sample(uint64_t elapsed)
{
    if (samples.count == samples.capacity) {
        samples.capacity = samples.capacity ? samples.capacity * 2 : 1 << 16;
        samples.values = grown(samples.values, samples.capacity * sizeof *samples.values);
    }
    elapsed /= 10;
    samples.values[samples.count++] = elapsed > UINT32_MAX ? UINT32_MAX : (uint32_t)elapsed;
}

static int compare_samples(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* Nearest rank, in microseconds; the samples must be sorted. */
static double percentile(double share)
{
    if (samples.count == 0) return 0.0;
    size_t rank = (size_t)(share * (double)samples.count + 0.999999);
    return samples.values[rank == 0 ? 0 : rank - 1] / 100.0;
}

/* ---------------------------------------------------------------- connections */

enum State {
    CLOSED,
    DIALLING,   /* TCP */
    UPGRADING,  /* the answer 101 */
    OPENING,    /* Engine.IO's open packet */
    JOINING,    /* Socket.IO's answer to CONNECT */
    READY,      /* connected */
    CLOSING,    /* our Close frame is sent; the server's Close frame and the end of the stream must come */
    HTTP,       /* a keep-alive connection of a polling client */
};

typedef struct { char *bytes; size_t length, capacity; } Buffer;
typedef struct { uint64_t sent; uint32_t id; bool busy; } Slot; /* one event that waits for its acknowledgement */
struct Poller;

typedef struct Connection {
    int fd;
    int index;
    int port;                 /* where to */
    enum State state;
    bool wants_write;         /* EPOLLOUT is armed */
    bool close_seen;          /* CLOSING: the server's Close frame has come */
    bool http_waiting;        /* HTTP: a request is under way */
    uint64_t dialled;
    uint64_t connected_after; /* connect: how long it took until the answer to CONNECT */
    int expected;             /* fanout: index of the broadcast that must come next */
    Slot *slots;              /* echo */
    struct Poller *poller;    /* HTTP */
    Buffer in, out;           /* an incomplete message; bytes not yet given to the kernel */
} Connection;

/* What a work does with its connections. */
typedef struct {
    const char *name;
    void (*start)(void);
    void (*on_ready)(Connection *, uint64_t now);
    void (*on_message)(Connection *, const char *text, size_t length, uint64_t now); /* after Engine.IO's '4' */
    void (*on_closed)(Connection *, uint64_t now);
    void (*on_tick)(uint64_t now);
    void (*on_stdin)(const char *line, uint64_t now);
    void (*on_http)(Connection *, int status, char *body, size_t length, uint64_t now);
    void (*print)(void);
} Work;

static const Work *work;
static int epoll_fd;
static Connection *connections;
static int connection_count;
static int ready_count;
static int next_to_dial;
static int dialling_count;
static uint64_t began, phase_began, measured_from, measured_to, cpu_from, cpu_to, idle_from, idle_to, load_cpu_from, load_cpu_to;
static long operations;      /* in the measured window */
static long sent_total, answered_total;
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint32_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static void append(Buffer *buffer, const void *bytes, size_t length)
{
    if (buffer->length + length > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < buffer->length + length) capacity *= 2;
        buffer->bytes = grown(buffer->bytes, capacity);
        buffer->capacity = capacity;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void watch(Connection *connection, bool wants_write, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0u), .data.ptr = connection};
    if (epoll_ctl(epoll_fd, operation, connection->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
    connection->wants_write = wants_write;
}

/* Gives the collected bytes to the kernel: one write for all that one wake-up produced. */
static void flush(Connection *connection)
{
    Buffer *out = &connection->out;
    size_t done = 0;
    while (done < out->length) {
        ssize_t count = send(connection->fd, out->bytes + done, out->length - done, MSG_NOSIGNAL);
        if (count > 0) {
            done += (size_t)count;
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else if (count < 0 && errno == EAGAIN) {
            break;
        } else {
            die("connection %d: send: %s", connection->index, strerror(errno));
        }
    }
    if (done > 0) {
        memmove(out->bytes, out->bytes + done, out->length - done);
        out->length -= done;
    }
    bool wants_write = out->length > 0;
    if (wants_write != connection->wants_write) watch(connection, wants_write, EPOLL_CTL_MOD);
}

/* Appends one masked RFC 6455 frame. */
static void frame(Connection *connection, unsigned opcode, const char *payload, size_t length)
{
    unsigned char header[14];
    size_t size = 2;
    header[0] = (unsigned char)(0x80u | opcode);
    if (length < 126) {
        header[1] = (unsigned char)(0x80u | length);
    } else if (length < 65536) {
        header[1] = 0x80u | 126u;
        header[2] = (unsigned char)(length >> 8);
        header[3] = (unsigned char)length;
        size = 4;
    } else {
        header[1] = 0x80u | 127u;
        for (int i = 0; i < 8; i++) header[2 + i] = (unsigned char)((uint64_t)length >> (56 - 8 * i));
        size = 10;
    }
    uint32_t key = random_word();
    memcpy(header + size, &key, 4);
    append(&connection->out, header, size + 4);
    size_t at = connection->out.length;
    append(&connection->out, payload, length);
    unsigned char *bytes = (unsigned char *)connection->out.bytes + at;
    const unsigned char *mask = (const unsigned char *)&key;
    for (size_t i = 0; i < length; i++) bytes[i] ^= mask[i & 3u];
}

static void text_frame(Connection *connection, const char *text, size_t length) { frame(connection, 1, text, length); }

static void dial(Connection *connection, enum State state, uint64_t now)
{
    if (connection->port == 0) connection->port = option.ports[0];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)connection->port)};
    if (inet_pton(AF_INET, option.host, &address.sin_addr) != 1) die("not an IPv4 address: %s", option.host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        die("connect to %s:%d: %s", option.host, connection->port, strerror(errno));
    connection->fd = fd;
    connection->state = state;
    connection->dialled = now;
    connection->close_seen = false;
    connection->in.length = connection->out.length = 0;
    watch(connection, state == DIALLING, EPOLL_CTL_ADD);
}

/* RFC 6455's own example key, so that the right answer is known beforehand. */
static void request_upgrade(Connection *connection)
{
    char request[512];
    int length = snprintf(request, sizeof request,
                          "GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\n"
                          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          option.path, option.host, connection->port);
    append(&connection->out, request, (size_t)length);
    connection->state = UPGRADING;
}

static bool starts_with(const char *text, size_t length, const char *prefix)
{
    size_t size = strlen(prefix);
    return length >= size && memcmp(text, prefix, size) == 0;
}

static bool equals(const char *text, size_t length, const char *other)
{
    return length == strlen(other) && memcmp(text, other, length) == 0;
}

/* The value of a header in head (which ends with a NUL), or NULL. */
static const char *header_value(const char *head, const char *name, size_t *length)
{
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, size) != 0 || line[size] != ':') continue;
        const char *value = line + size + 1;
        while (*value == ' ') value++;
        *length = strcspn(value, "\r");
        return value;
    }
    return NULL;
}

/* ---------------------------------------------------------------- phases */

static void enter(enum Phase next, uint64_t now)
{
    phase = next;
    phase_began = now;
    if (next == MEASURE) {
        operations = 0;
        samples.count = 0;
        load_cpu_from = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        idle_from = core_idle();
        cpu_from = server_cpu();
        measured_from = monotonic();
    } else if (next == DRAIN) {
        measured_to = monotonic();
        cpu_to = server_cpu();
        idle_to = core_idle();
        load_cpu_to = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    }
}

/* Moves on when the time (or the number of operations) of a phase is over. */
static void advance(uint64_t now)
{
    double elapsed = (double)(now - phase_began) / 1e9;
    if (phase == WARMUP && elapsed >= option.warmup) {
        enter(MEASURE, now);
    } else if (phase == MEASURE && operations > 0 && (elapsed >= option.seconds || operations >= option.max_operations)) {
        enter(DRAIN, now);
    }
}

static void dial_more(uint64_t now)
{
    while (next_to_dial < connection_count && dialling_count < option.concurrency) {
        dialling_count++;
        dial(&connections[next_to_dial++], DIALLING, now);
    }
}

/* ---------------------------------------------------------------- WebSocket, Engine.IO, Socket.IO: what comes in */

static void finish_closing(Connection *connection, uint64_t now)
{
    if (!connection->close_seen) die("connection %d: the stream ended without a Close frame", connection->index);
    close(connection->fd);
    connection->fd = -1;
    connection->state = CLOSED;
    if (work->on_closed) work->on_closed(connection, now);
}

static void receive_text(Connection *connection, const char *text, size_t length, uint64_t now)
{
    if (length == 1 && text[0] == '2') { /* Engine.IO ping */
        text_frame(connection, "3", 1);
        return;
    }
    switch (connection->state) {
    case OPENING:
        if (!starts_with(text, length, "0{\"sid\":\"")) break;
        text_frame(connection, "40", 2);
        connection->state = JOINING;
        return;
    case JOINING:
        if (!starts_with(text, length, "40{\"sid\":\"")) break;
        connection->state = READY;
        connection->connected_after = now - connection->dialled;
        ready_count++;
        dialling_count--;
        work->on_ready(connection, now);
        return;
    case READY:
        if (length < 2 || text[0] != '4' || work->on_message == NULL) break;
        work->on_message(connection, text + 1, length - 1, now);
        return;
    default:
        break;
    }
    die("connection %d: unexpected packet in state %d: %.*s", connection->index, (int)connection->state,
        (int)(length > 200 ? 200 : length), text);
}

/* Handles one message at the front of bytes; returns how many bytes it took, 0 if it is not whole. */
static size_t receive_frame(Connection *connection, char *bytes, size_t length, uint64_t now)
{
    const unsigned char *raw = (const unsigned char *)bytes;
    if (length < 2) return 0;
    size_t size = raw[1] & 0x7Fu, header = 2;
    if (raw[1] & 0x80u) die("connection %d: the server masked a frame", connection->index);
    if (size == 126) {
        if (length < 4) return 0;
        size = (size_t)raw[2] << 8 | raw[3];
        header = 4;
    } else if (size == 127) {
        if (length < 10) return 0;
        size = 0;
        for (int i = 0; i < 8; i++) size = size << 8 | raw[2 + i];
        header = 10;
    }
    if (size > MAX_PAYLOAD * 2) die("connection %d: frame of %zu bytes", connection->index, size);
    if (length < header + size) return 0;
    switch (raw[0]) {
    case 0x81: receive_text(connection, bytes + header, size, now); break;
    case 0x89: frame(connection, 10, bytes + header, size); break; /* ping: pong */
    case 0x8A: break;                                              /* unasked pong: allowed */
    case 0x88:
        if (connection->state != CLOSING) die("connection %d: the server closed it", connection->index);
        connection->close_seen = true;
        break;
    default: die("connection %d: frame begins with 0x%02x (fragmented, compressed or binary)", connection->index, raw[0]);
    }
    return header + size;
}

static size_t receive_upgrade(Connection *connection, char *bytes, size_t length)
{
    char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    *end = '\0';
    size_t size;
    const char *accept = header_value(bytes, "Sec-WebSocket-Accept", &size);
    if (!starts_with(bytes, length, "HTTP/1.1 101 ") || accept == NULL || !equals(accept, size, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        die("connection %d: upgrade refused: %.300s", connection->index, bytes);
    if (header_value(bytes, "Sec-WebSocket-Extensions", &size) != NULL) die("the server chose an extension unasked");
    connection->state = OPENING;
    return (size_t)(end - bytes) + 4;
}

/* Handles one HTTP response at the front of bytes, with Content-Length or chunked; 0 if it is not whole. */
static size_t receive_response(Connection *connection, char *bytes, size_t length, uint64_t now)
{
    char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    char *body = end + 4, *limit = bytes + length;
    size_t size = 0, body_length = 0, total;
    int status = 0;
    *end = '\0'; /* put back if the response is not whole */
    if (sscanf(bytes, "HTTP/1.1 %d", &status) != 1) die("not an HTTP/1.1 response: %.100s", bytes);
    const char *value = header_value(bytes, "Connection", &size);
    if (value != NULL && size == 5 && strncasecmp(value, "close", 5) == 0)
        die("connection %d: the server does not keep the connection: %.300s", connection->index, bytes);
    value = header_value(bytes, "Content-Length", &size);
    if (value != NULL) {
        body_length = strtoul(value, NULL, 10);
        *end = '\r';
        if ((size_t)(limit - body) < body_length) return 0;
        total = (size_t)(body - bytes) + body_length;
    } else {
        value = header_value(bytes, "Transfer-Encoding", &size);
        if (value == NULL || size != 7 || strncasecmp(value, "chunked", 7) != 0) die("response without length: %.300s", bytes);
        *end = '\r';
        char *at = body; /* first pass: is it whole? */
        for (;;) {
            char *line = memmem(at, (size_t)(limit - at), "\r\n", 2);
            if (line == NULL) return 0;
            size_t chunk = strtoul(at, NULL, 16);
            if ((size_t)(limit - line) < 2 + chunk + 2) return 0;
            at = line + 2 + chunk + 2;
            if (chunk == 0) break;
        }
        total = (size_t)(at - bytes);
        for (at = body;;) { /* second pass: join the chunks in place */
            char *line = memmem(at, (size_t)(limit - at), "\r\n", 2);
            size_t chunk = strtoul(at, NULL, 16);
            if (chunk == 0) break;
            memmove(body + body_length, line + 2, chunk);
            body_length += chunk;
            at = line + 2 + chunk + 2;
        }
    }
    if (!connection->http_waiting) die("connection %d: a response to no request", connection->index);
    connection->http_waiting = false;
    work->on_http(connection, status, body, body_length, now);
    return total;
}

static void receive_bytes(Connection *connection, char *bytes, size_t length, uint64_t now)
{
    size_t at = 0;
    while (at < length) {
        size_t taken;
        if (connection->state == UPGRADING) {
            taken = receive_upgrade(connection, bytes + at, length - at);
        } else if (connection->state == HTTP) {
            taken = receive_response(connection, bytes + at, length - at, now);
        } else {
            taken = receive_frame(connection, bytes + at, length - at, now);
        }
        if (taken == 0) break;
        at += taken;
    }
    Buffer *in = &connection->in;
    if (at == length) {
        in->length = 0;
    } else if (bytes == in->bytes) {
        memmove(in->bytes, in->bytes + at, length - at);
        in->length = length - at;
    } else {
        in->length = 0;
        append(in, bytes + at, length - at);
    }
}

static void on_readable(Connection *connection)
{
    static char scratch[READ_SIZE];
    ssize_t count = recv(connection->fd, scratch, sizeof scratch, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count < 0) die("connection %d: recv: %s", connection->index, strerror(errno));
    uint64_t now = monotonic();
    if (count == 0) {
        if (connection->state == CLOSING) {
            finish_closing(connection, now);
            return;
        }
        die("connection %d: the server ended the stream (state %d)", connection->index, (int)connection->state);
    }
    if (connection->in.length > 0) {
        append(&connection->in, scratch, (size_t)count);
        receive_bytes(connection, connection->in.bytes, connection->in.length, now);
    } else {
        receive_bytes(connection, scratch, (size_t)count, now);
    }
    if (connection->out.length > 0) flush(connection);
}

static void on_event(Connection *connection, uint32_t events)
{
    if (connection->state == DIALLING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) die("connect to %s:%d: %s", option.host, connection->port, strerror(error));
        request_upgrade(connection);
        flush(connection);
        return;
    }
    if (events & EPOLLOUT) flush(connection);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) on_readable(connection);
}

/* ---------------------------------------------------------------- payloads */

/* Fills text with exactly option.payload characters that begin with a mark of their own. */
static void fill_payload(char *text, unsigned long first, unsigned long second)
{
    char mark[64];
    int length = snprintf(mark, sizeof mark, "%lx-%lx-", first, second);
    memset(text, 'x', (size_t)option.payload);
    memcpy(text, mark, (size_t)(length < option.payload ? length : option.payload));
}

/* ---------------------------------------------------------------- work: echo */

static char *echo_text; /* scratch: one packet */

/* What stands before the payload of an event, and behind it. */
static const struct { const char *middle, *end; } echo_events[] = {
    {"\"echo\",", "]"},
    {"\"untyped\",{\"room\":\"lobby\",\"number\":42,\"tags\":[\"news\",\"sport\"],\"text\":", "}]"},
    {"\"typed\",{\"room\":\"lobby\",\"number\":42,\"tags\":[\"news\",\"sport\"],\"text\":", "}]"},
};

/* Writes `<prefix><id>[<middle>"<payload>"<end>` into echo_text; the payload is a function of connection and id. */
static size_t echo_packet(const char *prefix, int index, uint32_t id, const char *middle, const char *end)
{
    size_t length = (size_t)sprintf(echo_text, "%s%u[%s\"", prefix, id, middle);
    fill_payload(echo_text + length, (unsigned long)index, id);
    length += (size_t)option.payload;
    return length + (size_t)sprintf(echo_text + length, "\"%s", end);
}

static void echo_send(Connection *connection, Slot *slot, uint32_t id)
{
    size_t length = echo_packet("42", connection->index, id, echo_events[option.object].middle, echo_events[option.object].end);
    text_frame(connection, echo_text, length);
    slot->id = id;
    slot->busy = true;
    slot->sent = monotonic();
    sent_total++;
}

static void echo_start(void)
{
    connection_count = option.clients;
    echo_text = zeroed(1, MAX_PAYLOAD + 256);
    connections = zeroed((size_t)connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) connections[i].slots = zeroed((size_t)option.in_flight, sizeof(Slot));
}

static void echo_ready(Connection *connection, uint64_t now)
{
    (void)connection;
    if (ready_count < connection_count) return;
    enter(WARMUP, now);
    for (int i = 0; i < connection_count; i++) {
        for (int k = 0; k < option.in_flight; k++) echo_send(&connections[i], &connections[i].slots[k], (uint32_t)k);
        flush(&connections[i]);
    }
}

static void echo_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    uint32_t id = length > 1 && text[0] == '3' ? (uint32_t)strtoul(text + 1, NULL, 10) : 0;
    Slot *slot = &connection->slots[id % (uint32_t)option.in_flight];
    size_t expected = echo_packet("3", connection->index, slot->id, "", "]");
    if (!slot->busy || length != expected || memcmp(text, echo_text, length) != 0)
        die("connection %d: answer %.*s where %.*s was due", connection->index, (int)(length > 300 ? 300 : length), text,
            (int)expected, echo_text);
    slot->busy = false;
    answered_total++;
    if (phase == MEASURE) {
        operations++;
        sample(now - slot->sent);
    }
    if (phase < DRAIN) echo_send(connection, slot, id + (uint32_t)option.in_flight);
}

static void echo_tick(uint64_t now)
{
    advance(now);
    if (phase == DRAIN && sent_total == answered_total) phase = DONE;
}

/* ---------------------------------------------------------------- work: fanout */

static char *fanout_payload, *fanout_text;
static int fanout_round, fanout_joined;
static long fanout_missing; /* deliveries of this round that have not come */
static uint64_t fanout_sent;
static Connection *publisher; /* the last connection; not in the room */

static void fanout_start(void)
{
    connection_count = option.clients + 1;
    connections = zeroed((size_t)connection_count, sizeof *connections);
    publisher = &connections[connection_count - 1];
    fanout_payload = zeroed(1, MAX_PAYLOAD + 1);
    fanout_text = zeroed(1, MAX_PAYLOAD + 256);
}

static void fanout_publish(void)
{
    fill_payload(fanout_payload, 0xB0, (unsigned long)fanout_round++);
    fanout_missing = (long)option.clients * option.burst;
    for (int i = 0; i < option.clients; i++) connections[i].expected = 0;
    int length = sprintf(fanout_text, "42[\"broadcast\",\"bench\",\"%s\",%d]", fanout_payload, option.burst);
    text_frame(publisher, fanout_text, (size_t)length);
    sent_total += fanout_missing;
    fanout_sent = monotonic();
    flush(publisher);
}

static void fanout_ready(Connection *connection, uint64_t now)
{
    (void)now;
    if (connection != publisher) text_frame(connection, "420[\"join\",\"bench\"]", 19);
}

static void fanout_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    if (phase == PREPARE && equals(text, length, "30[]")) {
        if (connection->expected++ != 0) die("connection %d: joined twice", connection->index);
        fanout_joined++;
        return;
    }
    int due = sprintf(fanout_text, "2[\"broadcast\",%d,\"%s\"]", connection->expected, fanout_payload);
    if (phase == PREPARE || connection->expected >= option.burst || length != (size_t)due || memcmp(text, fanout_text, length) != 0)
        die("connection %d: got %.*s where %s was due", connection->index, (int)(length > 300 ? 300 : length), text, fanout_text);
    connection->expected++;
    answered_total++;
    if (--fanout_missing > 0) return;
    if (phase == MEASURE) {
        operations += (long)option.clients * option.burst;
        sample(now - fanout_sent);
    }
    advance(now); /* phases change between rounds only */
    if (phase < DRAIN) fanout_publish();
}

static void fanout_tick(uint64_t now)
{
    if (phase == PREPARE && fanout_joined == option.clients && publisher->state == READY) {
        enter(WARMUP, now);
        fanout_publish();
    }
    /* A short grace in which a surplus delivery would show itself. */
    if (phase == DRAIN && now - phase_began > 50000000u && sent_total == answered_total) phase = DONE;
}

/* ---------------------------------------------------------------- work: connect */

static int connect_live;

static void connect_start(void)
{
    connection_count = option.concurrency;
    connections = zeroed((size_t)connection_count, sizeof *connections);
    connect_live = connection_count;
    sent_total = connection_count;
}

static void connect_ready(Connection *connection, uint64_t now)
{
    (void)now;
    frame(connection, 8, "\x03\xe8", 2); /* Close, 1000 */
    connection->state = CLOSING;
}

static void connect_closed(Connection *connection, uint64_t now)
{
    answered_total++;
    if (phase == MEASURE) {
        operations++;
        sample(connection->connected_after);
    }
    if (phase < DRAIN) {
        sent_total++;
        dialling_count++;
        dial(connection, DIALLING, now);
    } else {
        connect_live--;
    }
}

static void connect_tick(uint64_t now)
{
    if (phase == PREPARE && answered_total > 0) enter(WARMUP, now);
    advance(now);
    if (phase == DRAIN && connect_live == 0) phase = DONE;
}

/* ---------------------------------------------------------------- work: idle */

static uint64_t rss_before, rss_after;
static int idle_warm; /* connections that come and go before the first reading */

static void idle_start(void)
{
    connection_count = option.clients;
    connections = zeroed((size_t)connection_count, sizeof *connections);
    idle_warm = option.concurrency < option.clients ? option.concurrency : option.clients;
    next_to_dial = connection_count; /* the main loop dials nothing by itself yet */
    uint64_t now = monotonic();
    for (int i = 0; i < idle_warm; i++) {
        dialling_count++;
        dial(&connections[i], DIALLING, now);
    }
}

static void idle_ready(Connection *connection, uint64_t now)
{
    if (phase == PREPARE) {
        connect_ready(connection, now);
        ready_count--;
    }
}

static void idle_closed(Connection *connection, uint64_t now)
{
    (void)connection;
    if (--idle_warm == 0) phase_began = now;
}

static void idle_tick(uint64_t now)
{
    uint64_t settle = (uint64_t)(option.settle * 1e9);
    if (phase == PREPARE && idle_warm == 0 && now - phase_began > settle) {
        rss_before = server_rss();
        enter(MEASURE, now);
        next_to_dial = 0; /* go */
    } else if (phase == MEASURE && ready_count == connection_count) {
        operations = ready_count;
        enter(DRAIN, now);
    } else if (phase == DRAIN && now - phase_began > settle) {
        rss_after = server_rss(); /* all are still connected: an ended stream would have ended us */
        phase = DONE;
    }
}

static void idle_print(void)
{
    printf(",\"rss_before\":%llu,\"rss_after\":%llu,\"bytes_per_client\":%.1f", (unsigned long long)rss_before,
           (unsigned long long)rss_after, ((double)rss_after - (double)rss_before) / option.clients);
}

/* ---------------------------------------------------------------- work: polling-echo */

/*
 * A polling client: one connection for the GET that waits, one for POSTs, both kept alive. With two ports, one more to the
 * server that makes the session; all else goes to the other one, which has to hand it over.
 */
typedef struct Poller {
    Connection *get, *post, *first;
    int index;
    char sid[64];
    enum State state;
    bool post_done, answered; /* both: the operation is complete */
    Slot slot;
} Poller;

static Poller *pollers;

static void http_request(Connection *connection, const char *sid, const char *body, size_t length)
{
    char head[512];
    int size;
    if (connection->http_waiting) die("connection %d: two requests at once", connection->index);
    if (body == NULL) {
        size = snprintf(head, sizeof head, "GET %s?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: %s:%d\r\n\r\n", option.path,
                        sid[0] ? "&sid=" : "", sid, option.host, connection->port);
    } else {
        size = snprintf(head, sizeof head,
                        "POST %s?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: %s:%d\r\n"
                        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
                        option.path, sid, option.host, connection->port, length);
    }
    append(&connection->out, head, (size_t)size);
    if (body != NULL) append(&connection->out, body, length);
    connection->http_waiting = true;
    flush(connection);
}

static void polling_send(Poller *poller, uint32_t id)
{
    poller->slot.id = id;
    poller->slot.busy = true;
    poller->slot.sent = monotonic();
    poller->post_done = poller->answered = false;
    sent_total++;
    size_t length = echo_packet("42", poller->index, id, "\"echo\",", "]");
    http_request(poller->post, poller->sid, echo_text, length);
}

static void polling_start(void)
{
    echo_text = zeroed(1, MAX_PAYLOAD + 256);
    int each = option.port_count > 1 ? 3 : 2;
    connection_count = option.clients * each;
    next_to_dial = connection_count; /* these are dialled here: plain HTTP, no upgrade */
    connections = zeroed((size_t)connection_count, sizeof *connections);
    pollers = zeroed((size_t)option.clients, sizeof *pollers);
    uint64_t now = monotonic();
    for (int i = 0; i < option.clients; i++) {
        Poller *poller = &pollers[i];
        Connection *own = &connections[each * i];
        *poller = (Poller){.get = own, .post = own + 1, .first = own + each - 1, .index = i, .state = OPENING};
        if (each == 2) poller->first = poller->get;
        for (int k = 0; k < each; k++) {
            own[k].index = each * i + k;
            own[k].port = option.ports[each == 3 && k < 2];
            own[k].poller = poller;
            dial(&own[k], HTTP, now);
        }
        http_request(poller->first, "", NULL, 0);
    }
}

static void polling_done(Poller *poller, uint64_t now)
{
    if (!poller->post_done || !poller->answered) return;
    if (phase == MEASURE) {
        operations++;
        sample(now - poller->slot.sent);
    }
    answered_total++;
    if (phase < DRAIN) polling_send(poller, poller->slot.id + 1);
}

static void polling_packet(Poller *poller, const char *text, size_t length)
{
    if (length == 1 && text[0] == '6') return; /* noop */
    if (length == 1 && text[0] == '2') die("a heartbeat came: the run is too long for polling-echo");
    if (poller->state == OPENING && starts_with(text, length, "0{\"sid\":\"")) {
        const char *sid = text + 9, *end = memchr(sid, '"', length - 9);
        if (end == NULL || (size_t)(end - sid) >= sizeof poller->sid) die("strange sid: %.*s", (int)length, text);
        memcpy(poller->sid, sid, (size_t)(end - sid));
        poller->state = JOINING;
        http_request(poller->post, poller->sid, "40", 2);
        return;
    }
    if (poller->state == JOINING && starts_with(text, length, "40{\"sid\":\"")) {
        poller->state = READY;
        ready_count++;
        return;
    }
    size_t expected = echo_packet("43", poller->index, poller->slot.id, "", "]");
    if (poller->state != READY || !poller->slot.busy || length != expected || memcmp(text, echo_text, length) != 0)
        die("client %d: answer %.*s where %.*s was due", poller->index, (int)(length > 300 ? 300 : length), text, (int)expected,
            echo_text);
    poller->slot.busy = false;
    poller->answered = true;
}

static void polling_response(Connection *connection, int status, char *body, size_t length, uint64_t now)
{
    Poller *poller = connection->poller;
    if (status != 200) die("client %d: HTTP %d: %.*s", poller->index, status, (int)(length > 300 ? 300 : length), body);
    if (connection == poller->post) {
        if (!equals(body, length, "ok") && !equals(body, length, "OK")) die("client %d: answer to POST: %.*s", poller->index, (int)length, body);
        if (poller->state == READY && phase != PREPARE) {
            poller->post_done = true;
            polling_done(poller, now);
        }
        return;
    }
    bool was_answered = poller->answered;
    for (char *at = body, *end = body + length; at <= end;) { /* packets are separated by U+001E */
        char *next = memchr(at, 0x1E, (size_t)(end - at));
        size_t size = (size_t)((next ? next : end) - at);
        polling_packet(poller, at, size);
        at += size + 1;
    }
    http_request(poller->get, poller->sid, NULL, 0); /* the next GET waits at once, as in a browser */
    if (poller->answered && !was_answered) polling_done(poller, now);
}

static void polling_tick(uint64_t now)
{
    if (phase == PREPARE && ready_count == option.clients) {
        for (int i = 0; i < option.clients; i++)
            if (pollers[i].post->http_waiting) return; /* the answer to POST 40 is still under way */
        enter(WARMUP, now);
        for (int i = 0; i < option.clients; i++) polling_send(&pollers[i], 0);
    }
    advance(now);
    if (phase == DRAIN && sent_total == answered_total) phase = DONE;
}

/* ---------------------------------------------------------------- work: listen */

/*
 * The connections go to all ports in turn, and join the rooms bench-0, bench-1, ... in turn. Servers then emit by themselves
 * tick(n, payload), where n counts the events of each room from 0, and the payload of --payload characters begins with the
 * time of CLOCK_MONOTONIC in nanoseconds: all are on one machine, so it is one clock.
 *
 * Events that come in another order than they were emitted in are counted; whether some are missing, the caller knows.
 *
 * When all have joined, a line {"ready":n} comes. On a line "mark" on stdin the figures since the last mark come as a line of
 * JSON; "quit", or the end of stdin, ends it.
 */
static long listen_heard[MAX_PORTS], listen_disordered;
static int listen_joined;
static uint64_t listen_cpu;

static void listen_start(void)
{
    connection_count = option.clients;
    connections = zeroed((size_t)connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) {
        connections[i].port = option.ports[i % option.port_count];
        connections[i].expected = -1;
    }
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (flags < 0 || fcntl(STDIN_FILENO, F_SETFL, flags | O_NONBLOCK) != 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
        die("stdin: %s", strerror(errno));
}

static void listen_ready(Connection *connection, uint64_t now)
{
    (void)now;
    char packet[64];
    int length = snprintf(packet, sizeof packet, "420[\"join\",\"bench-%d\"]", connection->index % option.rooms);
    text_frame(connection, packet, (size_t)length);
}

static void listen_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    if (connection->expected < 0) {
        if (!equals(text, length, "30[]")) die("connection %d: answer to join: %.*s", connection->index, (int)length, text);
        connection->expected = 0;
        if (++listen_joined == connection_count) {
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
        die("connection %d: got %.*s where event %d was due", connection->index, (int)(length > 300 ? 300 : length), text,
            connection->expected);
    if (number != connection->expected) listen_disordered++;
    uint64_t said = strtoull(end + 2, NULL, 10);
    if (said == 0 || said > now) die("connection %d: strange time %llu", connection->index, (unsigned long long)said);
    connection->expected++;
    listen_heard[connection->index % option.port_count]++;
    sample(now - said);
}

static void listen_told(const char *line, uint64_t now)
{
    (void)now;
    if (line == NULL || strcmp(line, "quit") == 0) {
        phase = DONE;
        return;
    }
    if (strcmp(line, "mark") != 0) die("mark or quit, not %s", line);
    uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    printf("{\"received\":[");
    for (int i = 0; i < option.port_count; i++) printf("%s%ld", i ? "," : "", listen_heard[i]);
    printf("],\"disordered\":%ld,\"cpu_seconds\":%.6f", listen_disordered, (double)(cpu - listen_cpu) / 1e9);
    qsort(samples.values, samples.count, sizeof *samples.values, compare_samples);
    printf(",\"latency_us\":{\"p50\":%.2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"samples\":%zu}}\n", percentile(0.50),
           percentile(0.95), percentile(0.99), percentile(1.0), samples.count);
    fflush(stdout);
    memset(listen_heard, 0, sizeof listen_heard);
    samples.count = listen_disordered = 0;
    listen_cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---------------------------------------------------------------- main */

static void on_stdin(uint64_t now)
{
    static char line[256];
    static size_t length;
    for (;;) {
        char byte;
        ssize_t count = read(STDIN_FILENO, &byte, 1);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) die("stdin: %s", strerror(errno));
        if (count == 0) {
            work->on_stdin(NULL, now);
            return;
        }
        if (byte != '\n') {
            if (length + 1 >= sizeof line) die("stdin: a line is too long");
            line[length++] = byte;
            continue;
        }
        line[length] = '\0';
        length = 0;
        work->on_stdin(line, now);
        if (phase == DONE) return;
    }
}


static const Work works[] = {
    {.name = "echo", .start = echo_start, .on_ready = echo_ready, .on_message = echo_message, .on_tick = echo_tick},
    {.name = "fanout", .start = fanout_start, .on_ready = fanout_ready, .on_message = fanout_message, .on_tick = fanout_tick},
    {.name = "connect", .start = connect_start, .on_ready = connect_ready, .on_closed = connect_closed, .on_tick = connect_tick},
    {.name = "idle", .start = idle_start, .on_ready = idle_ready, .on_closed = idle_closed, .on_tick = idle_tick, .print = idle_print},
    {.name = "polling-echo", .start = polling_start, .on_http = polling_response, .on_tick = polling_tick},
    {.name = "listen", .start = listen_start, .on_ready = listen_ready, .on_message = listen_message, .on_stdin = listen_told},
};

__attribute__((noreturn)) static void usage(void)
{
    fprintf(stderr, "usage: load WORK --port N... [--host IPV4] [--path /socket.io/] [--pid PID]... [--clients N] [--in-flight N]\n"
                    "            [--object 0-2] [--burst N] [--concurrency N] [--payload BYTES] [--warmup S] [--seconds S] [--settle S]\n"
                    "            [--deadline S] [--max-operations N] [--core N] [--rooms N]\n"
                    "WORK: echo, fanout, connect, idle, polling-echo, listen\n");
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
    if (count < 2) usage();
    option.work = arguments[1];
    for (int i = 2; i < count; i += 2) {
        const char *name = arguments[i], *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (value == NULL) usage();
        if (strcmp(name, "--host") == 0) option.host = value;
        else if (strcmp(name, "--path") == 0) option.path = value;
        else if (strcmp(name, "--port") == 0 && option.port_count < MAX_PORTS) option.ports[option.port_count++] = (int)number(value, 1, 65535);
        else if (strcmp(name, "--rooms") == 0) option.rooms = (int)number(value, 1, 100000);
        else if (strcmp(name, "--clients") == 0) option.clients = (int)number(value, 1, 100000);
        else if (strcmp(name, "--in-flight") == 0) option.in_flight = (int)number(value, 1, 10000);
        else if (strcmp(name, "--object") == 0) option.object = (int)number(value, 0, 2);
        else if (strcmp(name, "--burst") == 0) option.burst = (int)number(value, 1, 10000);
        else if (strcmp(name, "--concurrency") == 0) option.concurrency = (int)number(value, 1, 4096);
        else if (strcmp(name, "--payload") == 0) option.payload = (int)number(value, 32, MAX_PAYLOAD);
        else if (strcmp(name, "--warmup") == 0) option.warmup = number(value, 0, 60);
        else if (strcmp(name, "--seconds") == 0) option.seconds = number(value, 0.01, 60);
        else if (strcmp(name, "--settle") == 0) option.settle = number(value, 0, 60);
        else if (strcmp(name, "--deadline") == 0) option.deadline = number(value, 0.1, 600);
        else if (strcmp(name, "--core") == 0) option.core = (int)number(value, 0, 4095);
        else if (strcmp(name, "--max-operations") == 0) option.max_operations = (long)number(value, 1, 1e9);
        else if (strcmp(name, "--pid") == 0 && option.pid_count < MAX_PIDS) option.pids[option.pid_count++] = (pid_t)number(value, 1, 1e9);
        else usage();
    }
    for (size_t i = 0; i < sizeof works / sizeof *works; i++)
        if (strcmp(works[i].name, option.work) == 0) work = &works[i];
    if (work == NULL || option.port_count == 0) usage();
}

static void print_result(void)
{
    double elapsed = (double)(measured_to - measured_from) / 1e9, cpu = (double)(cpu_to - cpu_from) / 1e9;
    qsort(samples.values, samples.count, sizeof *samples.values, compare_samples);
    printf("{\"work\":\"%s\",\"operations\":%ld,\"seconds\":%.6f,\"per_second\":%.2f", option.work, operations, elapsed,
           (double)operations / elapsed);
    if (option.pid_count > 0)
        printf(",\"cpu_seconds\":%.6f,\"cpu_us_per_operation\":%.4f,\"server_share\":%.4f", cpu, cpu * 1e6 / (double)operations,
               cpu / elapsed);
    if (option.pid_count > 0 && option.core >= 0) {
        double strangers = 1.0 - (double)(idle_to - idle_from) / 1e9 / elapsed - cpu / elapsed;
        printf(",\"strangers_share\":%.4f", strangers > 0.0 ? strangers : 0.0);
    }
    printf(",\"load_share\":%.4f", (double)(load_cpu_to - load_cpu_from) / 1e9 / elapsed);
    if (samples.count > 0)
        printf(",\"latency_us\":{\"p50\":%.2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f,\"samples\":%zu}", percentile(0.50),
               percentile(0.95), percentile(0.99), percentile(1.0), samples.count);
    if (work->print) work->print();
    printf("}\n");
    if (fflush(stdout) != 0) die("stdout: %s", strerror(errno));
}

int main(int count, char **arguments)
{
    parse_options(count, arguments);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) die("epoll_create1: %s", strerror(errno));
    random_state ^= monotonic();
    began = phase_began = monotonic();
    work->start();
    for (int i = 0; i < connection_count; i++) connections[i].index = i;
    while (phase != DONE) {
        struct epoll_event events[MAX_EVENTS];
        uint64_t now = monotonic();
        dial_more(now);
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, 5);
        if (ready < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr != NULL) on_event(events[i].data.ptr, events[i].events);
            else on_stdin(now);
        }
        now = monotonic();
        if (work->on_tick) work->on_tick(now);
        if ((double)(now - began) / 1e9 > option.deadline)
            die("not finished after %g s: %d of %d connected, %ld of %ld answers came", option.deadline, ready_count, connection_count,
                answered_total, sent_total);
    }
    if (!work->on_stdin) print_result();
    return 0;
}
