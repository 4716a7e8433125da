/*
 * Connections: non-blocking sockets in one epoll set, HTTP/1.1, RFC 6455 with masked frames, and what Engine.IO and
 * Socket.IO say before a work begins. Anything that a work does not await ends the process.
 */
#include "load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    READ_SIZE = 1 << 18,
    MAX_EVENTS = 1024,
    PORTS_PER_ADDRESS = 4000, /* an address has 28,232 ephemeral ports by default; with half of them in use, the kernel searches long */
    SECOND = 1000000000,
};

const Work *work;
Connection *connections;
int connection_count;
int ready_count;
int next_to_dial;
int dialling_count;
int ping_interval_ms;

static int epoll_fd, timer_fd = -1;
static char from_stdin, from_timer; /* what epoll tells us of these two points here */
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint32_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

void create_connections(int count)
{
    connection_count = count;
    connections = zeroed((size_t)count, sizeof *connections);
    for (int i = 0; i < count; i++) {
        connections[i].index = i;
        connections[i].fd = -1;
    }
}

void append(Buffer *buffer, const void *bytes, size_t length)
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

/* ---------------------------------------------------------------- sockets */

static void watch(Connection *connection, bool wants_write, int operation)
{
    uint32_t events = connection->deaf ? EPOLLRDHUP : EPOLLIN | (wants_write ? EPOLLOUT : 0u);
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, operation, connection->fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
    connection->wants_write = wants_write;
}

/* Gives the collected bytes to the kernel: one write for all that one wake-up produced. */
void flush(Connection *connection)
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

/* On loopback many connections need several addresses to come from. */
static void choose_source(int fd)
{
    static unsigned long dialled;
    unsigned address = (unsigned)(dialled++ / PORTS_PER_ADDRESS) % 200;
    if (address == 0 || strncmp(option.host, "127.", 4) != 0) return;
    int yes = 1;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + address)};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) != 0) die("bind: %s", strerror(errno));
}

void dial(Connection *connection, enum State state, uint64_t now)
{
    if (connection->port == 0) connection->port = option.ports[0];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)connection->port)};
    if (inet_pton(AF_INET, option.host, &address.sin_addr) != 1) die("not an IPv4 address: %s", option.host);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s (ulimit -n)", strerror(errno));
    int yes = 1, buffer = 4096, segment = 1400;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connection->narrow) { /* what the server's kernel is willing to keep depends on the size of segments */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
    }
    choose_source(fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        die("connect to %s:%d: %s", option.host, connection->port, strerror(errno));
    connection->fd = fd;
    connection->state = state;
    connection->dialled = now;
    connection->close_seen = connection->http_waiting = false;
    connection->in.length = connection->out.length = 0;
    watch(connection, state == DIALLING, EPOLL_CTL_ADD);
}

void dial_more(uint64_t now)
{
    while (next_to_dial < connection_count && dialling_count < option.concurrency) {
        dialling_count++;
        dial(&connections[next_to_dial++], DIALLING, now);
    }
}

void hang_up(Connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    connection->state = CLOSED;
}

/* From now on nothing is read from it: what the server sends piles up. */
void deafen(Connection *connection)
{
    connection->deaf = true;
    watch(connection, false, EPOLL_CTL_MOD);
}

/* ---------------------------------------------------------------- HTTP and RFC 6455: what goes out */

/* XORs with the key, eight bytes at a time: 64 kB must not cost more here than in the server. */
static void mask(unsigned char *bytes, size_t length, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        word ^= wide;
        memcpy(bytes + i, &word, 8);
    }
    const unsigned char *each = (const unsigned char *)&key;
    for (; i < length; i++) bytes[i] ^= each[i & 3u];
}

/* Appends one masked RFC 6455 frame. */
void frame(Connection *connection, unsigned opcode, const char *payload, size_t length)
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
    mask((unsigned char *)connection->out.bytes + at, length, key);
}

void text_frame(Connection *connection, const char *text, size_t length) { frame(connection, 1, text, length); }

/* As the official client ends: a Close frame with 1000; the server's own one and the end of the stream must come. */
void close_frame(Connection *connection)
{
    frame(connection, 8, "\x03\xe8", 2);
    connection->state = CLOSING;
}

/* RFC 6455's own example key, so that the right answer is known beforehand. */
static void request_upgrade(Connection *connection)
{
    char request[640];
    int length = snprintf(request, sizeof request,
                          "GET %s?EIO=%d&transport=websocket%s%s HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\n"
                          "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          option.path, connection->generation ? connection->generation : 4, connection->sid ? "&sid=" : "",
                          connection->sid ? connection->sid : "", option.host, connection->port);
    append(&connection->out, request, (size_t)length);
    connection->state = UPGRADING;
}

/* A GET, or with a body a POST; without sid it opens a session. One at a time on each connection. */
void http_request(Connection *connection, const char *sid, const char *body, size_t length)
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

/* ---------------------------------------------------------------- texts */

bool starts_with(const char *text, size_t length, const char *prefix)
{
    size_t size = strlen(prefix);
    return length >= size && memcmp(text, prefix, size) == 0;
}

bool equals(const char *text, size_t length, const char *other)
{
    return length == strlen(other) && memcmp(text, other, length) == 0;
}

/* The session's id, out of an open packet over polling. */
void copy_sid(char *sid, size_t size, const char *open, size_t length)
{
    static const char start[] = "0{\"sid\":\"";
    const char *from = open + sizeof start - 1;
    const char *end = starts_with(open, length, start) ? memchr(from, '"', length - (sizeof start - 1)) : NULL;
    if (end == NULL || (size_t)(end - from) >= size) die("not an open packet: %.*s", shown(length), open);
    memcpy(sid, from, (size_t)(end - from));
    sid[end - from] = '\0';
}

/* Fills text with exactly option.payload characters that begin with a mark of their own. */
void fill_payload(char *text, unsigned long first, unsigned long second)
{
    char mark[64], *end = put_number(mark, first, 16);
    *end++ = '-';
    end = put_number(end, second, 16);
    *end++ = '-';
    memset(text, 'x', (size_t)option.payload);
    memcpy(text, mark, (size_t)(end - mark < option.payload ? end - mark : option.payload));
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

/* ---------------------------------------------------------------- WebSocket, Engine.IO, Socket.IO: what comes in */

static void finish_closing(Connection *connection, uint64_t now)
{
    if (!connection->close_seen) die("connection %d: the stream ended without a Close frame", connection->index);
    hang_up(connection);
    if (work->on_closed) work->on_closed(connection, now);
}

static void opened(Connection *connection, const char *text, size_t length)
{
    static const char name[] = "\"pingInterval\":";
    const char *interval = ping_interval_ms == 0 ? memmem(text, length, name, sizeof name - 1) : NULL;
    if (interval != NULL) ping_interval_ms = atoi(interval + sizeof name - 1);
    if (connection->generation != 3) text_frame(connection, "40", 2); /* in Engine.IO 3 the server says it by itself */
    connection->state = JOINING;
}

static void receive_text(Connection *connection, const char *text, size_t length, uint64_t now)
{
    if (length == 1 && text[0] == '2' && connection->generation != 3) {
        connection->pings++;
        text_frame(connection, "3", 1);
        return;
    }
    if (length == 1 && text[0] == '3' && connection->pong_due) {
        connection->pong_due = false;
        return;
    }
    if (length == 1 && text[0] == '6' && connection->sid != NULL) return; /* a noop that came late for polling; clients don't mind */
    switch (connection->state) {
    case OPENING:
        if (!starts_with(text, length, "0{\"sid\":\"")) break;
        opened(connection, text, length);
        return;
    case PROBING:
        if (!equals(text, length, "3probe")) break;
        work->on_probed(connection, now);
        return;
    case JOINING:
        if (connection->generation == 3 ? !equals(text, length, "40") : !starts_with(text, length, "40{\"sid\":\"")) break;
        connection->state = READY;
        connection->connected_after = now - connection->dialled;
        connection->pinged = now;
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
    die("connection %d: unexpected packet in state %d: %.*s", connection->index, (int)connection->state, shown(length), text);
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
    case 0x82:
        if (connection->state != READY || work->on_binary == NULL) die("connection %d: unexpected binary", connection->index);
        work->on_binary(connection, bytes + header, size, now);
        break;
    case 0x89: frame(connection, 10, bytes + header, size); break; /* ping: pong */
    case 0x8A: break;                                              /* unasked pong: allowed */
    case 0x88:
        if (connection->state != CLOSING) die("connection %d: the server closed it", connection->index);
        connection->close_seen = true;
        break;
    default: die("connection %d: frame begins with 0x%02x (fragmented or compressed)", connection->index, raw[0]);
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
    connection->state = connection->sid == NULL ? OPENING : PROBING;
    if (connection->state == PROBING) text_frame(connection, "2probe", 6);
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
    if (connection->fd < 0) return; /* it was hung up while this event waited in the same batch */
    if (connection->deaf) {
        hang_up(connection);
        work->on_lost(connection);
        return;
    }
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

/* In Engine.IO 3 it is the client that pings. */
void keep_alive(uint64_t now)
{
    static uint64_t looked;
    if (now - looked < SECOND) return;
    looked = now;
    for (int i = 0; i < connection_count; i++) {
        Connection *connection = &connections[i];
        if (connection->generation != 3 || connection->state != READY || now - connection->pinged < 10ull * SECOND) continue;
        if (connection->pong_due) die("connection %d: no pong came", i);
        connection->pinged = now;
        connection->pong_due = true;
        text_frame(connection, "2", 1);
        flush(connection);
    }
}

/* ---------------------------------------------------------------- what else wakes us */

void open_epoll(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) die("epoll_create1: %s", strerror(errno));
    random_state ^= monotonic();
}

static void watch_other(int fd, void *mark)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = mark};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

void watch_stdin(void)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    if (flags < 0 || fcntl(STDIN_FILENO, F_SETFL, flags | O_NONBLOCK) != 0) die("stdin: %s", strerror(errno));
    watch_other(STDIN_FILENO, &from_stdin);
}

/* work->on_timer each so many seconds from now on; when it comes late, it is told how many times are over. */
void every(double seconds)
{
    long nanoseconds = (long)(seconds * 1e9);
    struct timespec period = {.tv_sec = nanoseconds / SECOND, .tv_nsec = nanoseconds % SECOND};
    struct itimerspec when = {.it_interval = period, .it_value = period};
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_fd < 0 || timerfd_settime(timer_fd, 0, &when, NULL) != 0) die("timerfd: %s", strerror(errno));
    watch_other(timer_fd, &from_timer);
}

static void on_timer(void)
{
    uint64_t times;
    if (read(timer_fd, &times, sizeof times) == (ssize_t)sizeof times) work->on_timer(times, monotonic());
    else if (errno != EAGAIN) die("timerfd: %s", strerror(errno));
}

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

void wait_for_events(int milliseconds)
{
    struct epoll_event events[MAX_EVENTS];
    int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, milliseconds);
    if (ready < 0 && errno != EINTR) die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < ready && phase != DONE; i++) {
        void *what = events[i].data.ptr;
        if (what == &from_stdin) on_stdin(monotonic());
        else if (what == &from_timer) on_timer();
        else on_event(what, events[i].events);
    }
}
