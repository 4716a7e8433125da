/*
 * Peer: the floor. What the kernel, the frames and the bytes cost when nothing else is done.
 *
 * It is no server: it knows only what the load generator sends, keeps one room, checks nothing, parses no JSON and
 * has no heartbeat. It coalesces what one wake-up produced into one write per connection. Port as the argument.
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
#include <unistd.h>

enum { LARGEST = 1 << 18, MAX_CONNECTIONS = 1 << 16, MAX_EVENTS = 1024 };

typedef struct {
    int fd, place;            /* place: index in the room, -1 outside */
    bool upgraded, closing;
    size_t kept;              /* bytes of an incomplete message */
    char *incomplete;
} Connection;

static Connection *room[MAX_CONNECTIONS];
static int members;
static char out[LARGEST], scratch[LARGEST];
static size_t out_length;

static void must(bool condition, const char *what)
{
    if (condition) return;
    perror(what);
    exit(1);
}

/* The floor never queues: the load generator reads faster than this writes. */
static void write_all(const Connection *connection, const char *bytes, size_t length)
{
    must(send(connection->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length, "send");
}

/* Appends one unmasked frame: its header, then payload given in two pieces. */
static void frame(unsigned opcode, const char *first, size_t first_length, const char *second, size_t second_length)
{
    size_t length = first_length + second_length;
    must(length < 65536 && out_length + length + 4 < sizeof out, "frame");
    out[out_length++] = (char)(0x80u | opcode);
    if (length < 126) {
        out[out_length++] = (char)length;
    } else {
        out[out_length++] = 126;
        out[out_length++] = (char)(length >> 8);
        out[out_length++] = (char)length;
    }
    memcpy(out + out_length, first, first_length);
    memcpy(out + out_length + first_length, second, second_length);
    out_length += length;
}

static void leave(Connection *connection)
{
    if (connection->place < 0) return;
    room[connection->place] = room[--members];
    room[connection->place]->place = connection->place;
    connection->place = -1;
}

static bool begins(const char *text, size_t length, const char *with)
{
    return length >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* ["broadcast","bench","<payload>",<count>] */
static void broadcast(char *text, size_t length)
{
    char *payload = text + strlen("[\"broadcast\",\"bench\","), *end = memrchr(text, ',', length), head[64];
    must(end != NULL && end > payload && out_length == 0, "broadcast");
    int count = atoi(end + 1);
    *end = ']';
    for (int i = 0; i < count; i++) {
        int size = sprintf(head, "42[\"broadcast\",%d,", i);
        frame(1, head, (size_t)size, payload, (size_t)(end + 1 - payload));
    }
    for (int i = 0; i < members; i++) write_all(room[i], out, out_length);
    out_length = 0;
}

static void message(Connection *connection, char *text, size_t length)
{
    char head[64];
    if (length == 2 && memcmp(text, "40", 2) == 0) {
        frame(1, "40{\"sid\":\"x\"}", 12, "", 0);
        return;
    }
    if (!begins(text, length, "42")) return;
    char *body = memchr(text, '[', length);
    must(body != NULL, "event");
    size_t rest = (size_t)(text + length - body);
    int size = sprintf(head, "43%.*s[", (int)(body - text - 2 > 40 ? 40 : body - text - 2), text + 2);
    if (begins(body, rest, "[\"echo\",")) {
        frame(1, head, (size_t)size, body + 8, rest - 8);
    } else if (begins(body, rest, "[\"join\",")) {
        connection->place = members;
        room[members++] = connection;
        frame(1, head, (size_t)size, "]", 1);
    } else if (begins(body, rest, "[\"leave\",")) {
        leave(connection);
        frame(1, head, (size_t)size, "]", 1);
    } else if (begins(body, rest, "[\"broadcast\",\"bench\",")) {
        broadcast(body, rest);
    }
}

/* Returns how many bytes the message at the front took, 0 if it is not whole. */
static size_t receive(Connection *connection, char *bytes, size_t length)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static const char open[] = "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}";
    if (!connection->upgraded) {
        char *end = memmem(bytes, length, "\r\n\r\n", 4);
        if (end == NULL) return 0;
        connection->upgraded = true;
        memcpy(out, answer, sizeof answer - 1);
        out_length = sizeof answer - 1;
        frame(1, open, sizeof open - 1, "", 0);
        return (size_t)(end + 4 - bytes);
    }
    if (length < 6) return 0;
    size_t size = (unsigned char)bytes[1] & 0x7Fu, header = 6;
    must(size < 127, "frame of 64 kB or more");
    if (size == 126) {
        size = (size_t)(unsigned char)bytes[2] << 8 | (unsigned char)bytes[3];
        header = 8;
    }
    if (length < header + size) return 0;
    char *payload = bytes + header;
    const char *mask = payload - 4;
    for (size_t i = 0; i < size; i++) payload[i] ^= mask[i & 3u];
    if ((bytes[0] & 15) == 8) {
        frame(8, payload, size, "", 0);
        connection->closing = true;
    } else {
        message(connection, payload, size);
    }
    return header + size;
}

static void drop(Connection *connection)
{
    leave(connection);
    close(connection->fd);
    free(connection->incomplete);
    free(connection);
}

static void readable(Connection *connection)
{
    size_t length = connection->kept, at = 0, taken;
    if (length > 0) memcpy(scratch, connection->incomplete, length);
    ssize_t count = recv(connection->fd, scratch + length, sizeof scratch - length, 0);
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

int main(int count, char **arguments)
{
    must(count == 2, "usage: floor PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1, epoll_fd = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    must(bind(listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(listener, 2048) == 0, "listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[MAX_EVENTS];
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) == 0, "epoll_ctl");
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr != NULL) {
                readable(events[i].data.ptr);
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                Connection *connection = calloc(1, sizeof *connection);
                must(connection != NULL, "calloc");
                connection->fd = fd;
                connection->place = -1;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = connection};
                must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
            }
        }
    }
}
