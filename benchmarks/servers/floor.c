/*
 * Peer: the floor. What the kernel, the frames and the bytes cost when nothing else is done.
 *
 * It is no server: it knows only what the load generator sends, checks nothing and parses no JSON. It coalesces what one wake-up
 * produced into one write per connection, and cuts who does not take it. Port as the argument. Some works change two things, for
 * every server alike: BENCH_PING_INTERVAL_MS has it ping; Engine.IO 3 it speaks without being asked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, MAX_CONNECTIONS = 1 << 16, MAX_ROOMS = 1024, MAX_EVENTS = 1024, TICK_MS = 20 };

struct Session;

typedef struct {
    int fd;
    int room, place;          /* where it is among the members; place -1: in no room */
    int number;               /* where it is among all that have a WebSocket; -1: it has none */
    bool closing, eio3;       /* in Engine.IO 3 it is the client that pings */
    struct Session *waiting;  /* the session whose GET waits here */
    size_t kept;              /* bytes of an incomplete message */
    char *incomplete;
} Connection;

/* A client that polls. Its number, from 1, is its id. */
typedef struct Session {
    Connection *get;          /* where a GET waits, or NULL */
    size_t queued;
    char queue[1 << 17];      /* packets, each with U+001E behind it */
} Session;

static struct { Connection **members; int count, capacity; } rooms[MAX_ROOMS];
static Connection *everyone[MAX_CONNECTIONS];
static Session *sessions[MAX_CONNECTIONS], *listeners[MAX_CONNECTIONS];
static int connected, opened, listening, ping_interval_ms;
static char out[LARGEST], scratch[LARGEST];
static size_t out_length;

static void must(bool condition, const char *what)
{
    if (condition) return;
    perror(what);
    exit(1);
}

static void leave(Connection *connection)
{
    if (connection->place < 0) return;
    int last = --rooms[connection->room].count;
    Connection **members = rooms[connection->room].members;
    members[connection->place] = members[last];
    members[connection->place]->place = connection->place;
    connection->place = -1;
}

/* The floor never queues: the load generator reads faster than this writes. Who does not is cut, and dropped when epoll says so. */
static void write_all(Connection *connection, const char *bytes, size_t length)
{
    ssize_t count = send(connection->fd, bytes, length, MSG_NOSIGNAL);
    if (count == (ssize_t)length) return;
    must(count >= 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET, "send");
    shutdown(connection->fd, SHUT_RDWR);
    leave(connection);
}

static void add(const void *bytes, size_t length)
{
    must(out_length + length <= sizeof out, "out of space");
    memcpy(out + out_length, bytes, length);
    out_length += length;
}

/* Appends one unmasked frame: its header, then payload given in two pieces. */
static void frame(unsigned opcode, const char *first, size_t first_length, const char *second, size_t second_length)
{
    size_t length = first_length + second_length, size = 2;
    unsigned char header[10] = {(unsigned char)(0x80u | opcode), (unsigned char)length};
    if (length >= 126) {
        size = length < 65536 ? 4 : 10;
        header[1] = size == 4 ? 126 : 127;
        for (size_t i = 2; i < size; i++) header[i] = (unsigned char)((uint64_t)length >> (8 * (size - 1 - i)));
    }
    add(header, size);
    add(first, first_length);
    add(second, second_length);
}

/* ---------------------------------------------------------------- HTTP long-polling */

static void respond(const char *body, size_t length)
{
    char head[128];
    int size = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %zu\r\n\r\n", length);
    add(head, (size_t)size);
    add(body, length);
}

/* Answers the GET that waits, if there are packets for it. */
static void release(Session *session)
{
    Connection *connection = session->get;
    if (connection == NULL || session->queued == 0) return;
    size_t mine = out_length; /* what stands there already is of another connection */
    respond(session->queue, session->queued - 1);
    write_all(connection, out + mine, out_length - mine);
    out_length = mine;
    session->queued = 0;
    session->get = NULL;
    connection->waiting = NULL;
}

static void say(Session *session, const char *first, size_t first_length, const char *second, size_t second_length)
{
    must(session->queued + first_length + second_length + 1 <= sizeof session->queue, "queue");
    memcpy(session->queue + session->queued, first, first_length);
    memcpy(session->queue + session->queued + first_length, second, second_length);
    session->queued += first_length + second_length + 1;
    session->queue[session->queued - 1] = 0x1E;
    release(session);
}

/* ---------------------------------------------------------------- what is said */

static bool begins(const char *text, size_t length, const char *with)
{
    return length >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* To a client with a WebSocket, whose frames are collected, or to one that polls. */
static void answer(Session *session, const char *first, size_t first_length, const char *second, size_t second_length)
{
    if (session != NULL) say(session, first, first_length, second, second_length);
    else frame(1, first, first_length, second, second_length);
}

/* The number of the room "bench" or "bench-<number>" at the front of text; *end is behind its last quote. */
static int room_number(const char *text, char **end)
{
    must(strncmp(text, "\"bench", 6) == 0, "room");
    int number = text[6] == '-' ? (int)strtol(text + 7, end, 10) : 0;
    if (text[6] != '-') *end = (char *)text + 6;
    must(number < MAX_ROOMS && **end == '"', "room");
    ++*end;
    return number;
}

static void join(Connection *connection, Session *session, int number)
{
    if (session != NULL) {
        listeners[listening++] = session;
        return;
    }
    connection->room = number;
    connection->place = rooms[number].count++;
    if (connection->place == rooms[number].capacity) {
        rooms[number].capacity = rooms[number].capacity * 2 + 16;
        rooms[number].members = realloc(rooms[number].members, (size_t)rooms[number].capacity * sizeof *rooms[number].members);
        must(rooms[number].members != NULL, "realloc");
    }
    rooms[number].members[connection->place] = connection;
}

/* ["broadcast",<room>,"<payload>",<count>] */
static void broadcast(char *text, size_t length)
{
    char *payload, *end = memrchr(text, ',', length), head[64];
    int number = room_number(text + strlen("[\"broadcast\","), &payload);
    must(end != NULL && end > ++payload, "broadcast");
    int count = atoi(end + 1);
    size_t mine = out_length; /* what stands there already is of another connection */
    *end = ']';
    for (int i = 0; i < count; i++) {
        int size = sprintf(head, "42[\"broadcast\",%d,", i);
        frame(1, head, (size_t)size, payload, (size_t)(end + 1 - payload));
        for (int k = 0; k < listening; k++) say(listeners[k], head, (size_t)size, payload, (size_t)(end + 1 - payload));
    }
    for (int i = rooms[number].count - 1; i >= 0; i--) write_all(rooms[number].members[i], out + mine, out_length - mine);
    out_length = mine;
}

static void message(Connection *connection, Session *session, char *text, size_t length)
{
    char head[64], *end;
    if (length == 2 && memcmp(text, "40", 2) == 0) {
        answer(session, "40{\"sid\":\"x\"}", 12, "", 0);
        return;
    }
    if (length == 1 && text[0] == '2') answer(session, "3", 1, "", 0); /* Engine.IO 3 */
    char *body = length > 2 ? memchr(text, '[', length) : NULL;
    if (body == NULL) return;
    size_t rest = (size_t)(text + length - body);
    int size = sprintf(head, "4%c%.*s[", text[1] + 1, (int)(body - text - 2 > 40 ? 40 : body - text - 2), text + 2);
    if (begins(body, rest, "[\"echo\",")) {
        answer(session, head, (size_t)size, body + 8, rest - 8);
    } else if (begins(body, rest, "[\"binary\",")) {
        answer(session, head, (size_t)size, body + 10, rest - 10); /* the attachment comes next, and is sent back then */
    } else if (begins(body, rest, "[\"join\",")) {
        join(connection, session, room_number(body + 8, &end));
        answer(session, head, (size_t)size, "]", 1);
    } else if (begins(body, rest, "[\"leave\",")) {
        leave(connection);
        answer(session, head, (size_t)size, "]", 1);
    } else if (begins(body, rest, "[\"broadcast\",")) {
        broadcast(body, rest);
    }
}

/* ---------------------------------------------------------------- what comes in */

static size_t open_packet(char *text, int sid)
{
    return (size_t)sprintf(text, "0{\"sid\":\"%d\",\"upgrades\":[],\"pingInterval\":%d,\"pingTimeout\":20000,\"maxPayload\":1000000}", sid,
                           ping_interval_ms ? ping_interval_ms : 25000);
}

static void upgrade(Connection *connection)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char open[160];
    must(connected < MAX_CONNECTIONS, "connections");
    connection->number = connected;
    everyone[connected++] = connection;
    add(answer, sizeof answer - 1);
    frame(1, open, open_packet(open, 0), "", 0);
    if (connection->eio3) frame(1, "40", 2, "", 0);
}

/* One request that is whole, with a NUL behind its head. Who polls has one request under way on each connection. */
static void polling(Connection *connection, const char *head, char *body, size_t length)
{
    char open[160], *sid = strstr(head, "&sid=");
    if (sid == NULL) {
        must(opened < MAX_CONNECTIONS && (sessions[opened] = calloc(1, sizeof(Session))) != NULL, "sessions");
        respond(open, open_packet(open, ++opened));
        return;
    }
    int number = atoi(sid + 5) - 1;
    must(number >= 0 && number < opened, "sid");
    Session *session = sessions[number];
    if (head[0] == 'P') {
        respond("ok", 2);
        message(connection, session, body, length);
    } else {
        session->get = connection;
        connection->waiting = session;
        release(session);
    }
}

/* Returns how many bytes the request at the front took, 0 if it is not whole. */
static size_t receive_request(Connection *connection, char *bytes, size_t length)
{
    char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    *end = '\0'; /* put back if the request is not whole */
    size_t taken = (size_t)(end + 4 - bytes), more = 0;
    char *size = bytes[0] == 'P' ? strcasestr(bytes, "\r\nContent-Length:") : NULL;
    if (size != NULL) more = strtoul(size + strlen("\r\nContent-Length:"), NULL, 10);
    if (length < taken + more) {
        *end = '\r';
        return 0;
    }
    connection->eio3 = strstr(bytes, "EIO=3") != NULL;
    if (strstr(bytes, "transport=websocket") != NULL) upgrade(connection);
    else polling(connection, bytes, end + 4, more);
    return taken + more;
}

static void unmask(char *payload, size_t size, const char *key)
{
    uint32_t narrow;
    memcpy(&narrow, key, 4);
    uint64_t wide = (uint64_t)narrow << 32 | narrow, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= wide;
        memcpy(payload + i, &word, 8);
    }
    for (; i < size; i++) payload[i] ^= key[i & 3u];
}

/* Returns how many bytes the message at the front took, 0 if it is not whole. */
static size_t receive(Connection *connection, char *bytes, size_t length)
{
    if (connection->number < 0) return receive_request(connection, bytes, length);
    if (length < 6) return 0;
    size_t size = (unsigned char)bytes[1] & 0x7Fu, header = size < 126 ? 2 : size == 126 ? 4 : 10;
    if (length < header + 4) return 0;
    if (header > 2) size = 0;
    for (size_t i = 2; i < header; i++) size = size << 8 | (unsigned char)bytes[i];
    char *payload = bytes + header + 4;
    must(size < LARGEST / 4, "frame");
    if (length < header + 4 + size) return 0;
    unmask(payload, size, payload - 4);
    unsigned opcode = (unsigned char)bytes[0] & 15u;
    if (opcode == 1) message(connection, NULL, payload, size);
    else frame(opcode, payload, size, "", 0); /* an attachment, or Close */
    connection->closing = opcode == 8;
    return header + 4 + size;
}

static void drop(Connection *connection)
{
    leave(connection);
    if (connection->waiting != NULL) connection->waiting->get = NULL;
    if (connection->number >= 0) {
        everyone[connection->number] = everyone[--connected];
        everyone[connection->number]->number = connection->number;
    }
    close(connection->fd);
    free(connection->incomplete);
    free(connection);
}

static void readable(Connection *connection)
{
    size_t length = connection->kept, at = 0, taken;
    if (length > 0) memcpy(scratch, connection->incomplete, length);
    ssize_t count = recv(connection->fd, scratch + length, sizeof scratch / 2 - length, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
        drop(connection);
        return;
    }
    length += (size_t)count;
    while (at < length && (taken = receive(connection, scratch + at, length - at)) > 0) at += taken;
    connection->kept = length - at;
    if (connection->kept > 0) {
        connection->incomplete = realloc(connection->incomplete, connection->kept);
        must(connection->incomplete != NULL, "realloc");
        memcpy(connection->incomplete, scratch + at, connection->kept);
    }
    if (out_length > 0) write_all(connection, out, out_length);
    out_length = 0;
    if (connection->closing) drop(connection);
}

/* Each tick pings so many clients that all have had their turn in one interval. */
static void ping(int timer)
{
    static double due;
    static int next;
    uint64_t times;
    if (read(timer, &times, sizeof times) != sizeof times) return;
    for (due += (double)times * connected * TICK_MS / ping_interval_ms; due >= 1 && connected > 0; due--) {
        next = (next + 1) % connected;
        if (!everyone[next]->eio3) write_all(everyone[next], "\x81\x01" "2", 3);
    }
}

static int start_timer(void)
{
    const char *interval = getenv("BENCH_PING_INTERVAL_MS");
    struct itimerspec when = {.it_interval = {.tv_nsec = TICK_MS * 1000000}, .it_value = {.tv_nsec = TICK_MS * 1000000}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    ping_interval_ms = interval ? atoi(interval) : 0;
    if (ping_interval_ms > 0) must(timerfd_settime(timer, 0, &when, NULL) == 0, "timerfd");
    return timer;
}

static void take_in(int epoll_fd, int listener)
{
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        Connection *connection = calloc(1, sizeof *connection);
        must(connection != NULL, "calloc");
        connection->fd = fd;
        connection->place = connection->number = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }
}

int main(int count, char **arguments)
{
    must(count == 2, "usage: floor PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1, epoll_fd = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), timer = start_timer();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 2048) == 0, "listen");
    struct epoll_event accepts = {.events = EPOLLIN, .data.ptr = NULL}, ticks = {.events = EPOLLIN, .data.ptr = &ticks}, events[MAX_EVENTS];
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepts) == 0, "epoll_ctl");
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &ticks) == 0, "epoll_ctl");
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL) take_in(epoll_fd, listener);
            else if (events[i].data.ptr == &ticks) ping(timer);
            else readable(events[i].data.ptr);
        }
    }
}
