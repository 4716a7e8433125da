/*
 * Works: polling-echo and polling-fanout. All clients use HTTP long-polling alone: one connection for the GET that waits, one
 * for POSTs, both kept alive.
 */
#include "load.h"

typedef struct {
    Connection *get, *post, *first; /* first: polling-echo with two ports, see below; else the same as get */
    int index;
    char sid[64];
    enum State state;
    bool post_done, answered; /* polling-echo; both: the operation is complete */
    bool join_sent;           /* polling-fanout */
    Slot slot;
    Member member;
} Poller;

static Poller *pollers;

/* Each poller gets so many connections, the first of them at connections[each * index]; more come behind all pollers. */
static void create_pollers(int each, int more)
{
    create_connections(option.clients * each + more);
    pollers = zeroed((size_t)option.clients, sizeof *pollers);
    next_to_dial = option.clients * each; /* these are dialled here: plain HTTP, no upgrade */
    for (int i = 0; i < option.clients; i++) {
        Poller *poller = &pollers[i];
        Connection *own = &connections[each * i];
        *poller = (Poller){.get = own, .post = own + 1, .first = each == 3 ? own + 2 : own, .index = i, .state = OPENING};
        for (int k = 0; k < each; k++) {
            own[k].own = poller;
            own[k].port = option.ports[each == 3 && k < 2];
        }
    }
}

static void open_pollers(void)
{
    uint64_t now = monotonic();
    for (int i = 0; i < next_to_dial; i++) dial(&connections[i], HTTP, now);
    for (int i = 0; i < option.clients; i++) http_request(pollers[i].first, "", NULL, 0);
}

/* The packets that say how a session begins. Returns whether it was one. */
static bool opening_packet(Poller *poller, const char *text, size_t length)
{
    if (length == 1 && text[0] == '6') return true; /* noop */
    if (length == 1 && text[0] == '2') die("a heartbeat came: the run is too long for polling");
    if (poller->state == OPENING) {
        copy_sid(poller->sid, sizeof poller->sid, text, length);
        poller->state = JOINING;
        http_request(poller->post, poller->sid, "40", 2);
        return true;
    }
    if (poller->state == JOINING && starts_with(text, length, "40{\"sid\":\"")) {
        poller->state = READY;
        ready_count++;
        return true;
    }
    return false;
}

/* Takes the packets out of a response, after the next GET is sent: in the name of a client that always has one waiting. */
static void receive_packets(Poller *poller, char *body, size_t length, void (*packet)(Poller *, const char *, size_t, uint64_t), uint64_t now)
{
    bool opened = poller->state != OPENING;
    if (opened) http_request(poller->get, poller->sid, NULL, 0);
    for (char *at = body, *end = body + length; at <= end;) { /* packets are separated by U+001E */
        char *next = memchr(at, 0x1E, (size_t)(end - at));
        size_t size = (size_t)((next ? next : end) - at);
        if (!opening_packet(poller, at, size)) packet(poller, at, size, now);
        at += size + 1;
    }
    if (!opened) http_request(poller->get, poller->sid, NULL, 0);
}

static void check_status(const Poller *poller, int status, const char *body, size_t length)
{
    if (status != 200) die("client %d: HTTP %d: %.*s", poller->index, status, shown(length), body);
}

static void check_posted(const Poller *poller, const char *body, size_t length)
{
    if (!equals(body, length, "ok") && !equals(body, length, "OK")) die("client %d: answer to POST: %.*s", poller->index, shown(length), body);
}

/* All pollers and others are connected, and nothing but the waiting GETs is under way. */
static bool all_connected(int others)
{
    if (ready_count < option.clients + others) return false;
    for (int i = 0; i < option.clients; i++)
        if (pollers[i].post->http_waiting) return false;
    return true;
}

/* ---------------------------------------------------------------- polling-echo */

/*
 * With two ports, one more connection to the server that makes the session; all else goes to the other one, which has to hand
 * it over.
 */
static void echo_start(void)
{
    create_pollers(option.port_count > 1 ? 3 : 2, 0);
    open_pollers();
}

static void echo_send(Poller *poller, uint32_t id)
{
    poller->slot = (Slot){.id = id, .busy = true, .sent = monotonic()};
    poller->post_done = poller->answered = false;
    sent_total++;
    size_t length = echo_packet("42", poller->index, id, "\"echo\",", "]");
    http_request(poller->post, poller->sid, echo_text, length);
}

static void echo_done(Poller *poller, uint64_t now)
{
    if (!poller->post_done || !poller->answered) return;
    if (phase == MEASURE) {
        operations++;
        sample(now - poller->slot.sent);
    }
    answered_total++;
    if (phase < DRAIN) echo_send(poller, poller->slot.id + 1);
}

static void echo_answer(Poller *poller, const char *text, size_t length, uint64_t now)
{
    size_t expected = echo_packet("43", poller->index, poller->slot.id, "", "]");
    if (poller->state != READY || !poller->slot.busy || length != expected || memcmp(text, echo_text, length) != 0)
        die("client %d: answer %.*s where %.*s was due", poller->index, shown(length), text, shown(expected), echo_text);
    poller->slot.busy = false;
    poller->answered = true;
    echo_done(poller, now);
}

static void echo_http(Connection *connection, int status, char *body, size_t length, uint64_t now)
{
    Poller *poller = connection->own;
    check_status(poller, status, body, length);
    if (connection != poller->post) {
        receive_packets(poller, body, length, echo_answer, now);
        return;
    }
    check_posted(poller, body, length);
    if (poller->state == READY && phase != PREPARE) {
        poller->post_done = true;
        echo_done(poller, now);
    }
}

static void echo_tick(uint64_t now)
{
    if (phase == PREPARE && all_connected(0)) {
        enter(WARMUP, now);
        for (int i = 0; i < option.clients; i++) echo_send(&pollers[i], 0);
    }
    advance(now);
    if (phase == DRAIN && sent_total == answered_total) phase = DONE;
}

const Work polling_echo_work = {.name = "polling-echo", .start = echo_start, .on_http = echo_http, .on_tick = echo_tick};

/* ---------------------------------------------------------------- polling-fanout */

/* Members of one room that poll; the publisher has a WebSocket. A delivery is a response and the next GET. */
static void fanout_start(void)
{
    if (option.rooms != 1 || option.rate > 0 || option.churners > 0 || option.slow > 0) die("one room, and members that read");
    create_pollers(2, 1);
    create_publisher(&connections[connection_count - 1]);
    create_rooms(1);
    for (int i = 0; i < option.clients; i++) member_joins(&pollers[i].member, 0);
    open_pollers();
}

static void fanout_ready(Connection *connection, uint64_t now)
{
    (void)connection;
    (void)now;
}

static void fanout_join(Poller *poller)
{
    if (poller->state != READY || poller->join_sent || poller->post->http_waiting) return;
    char packet[64];
    int length = join_packet(packet, sizeof packet, "42", 0);
    poller->join_sent = true;
    http_request(poller->post, poller->sid, packet, (size_t)length);
}

static void fanout_packet(Poller *poller, const char *text, size_t length, uint64_t now)
{
    if (poller->join_sent && !poller->member.joined && equals(text, length, "430[]")) member_joined(&poller->member, poller->index);
    else if (length > 1 && text[0] == '4') member_hears(&poller->member, poller->index, text + 1, length - 1, now);
    else die("client %d: %.*s", poller->index, shown(length), text);
}

static void fanout_http(Connection *connection, int status, char *body, size_t length, uint64_t now)
{
    Poller *poller = connection->own;
    check_status(poller, status, body, length);
    if (connection == poller->post) check_posted(poller, body, length);
    else receive_packets(poller, body, length, fanout_packet, now);
    fanout_join(poller);
}

static void fanout_tick(uint64_t now)
{
    if (phase == PREPARE && all_connected(1)) rooms_begin(now);
    rooms_end(now);
}

const Work polling_fanout_work = {
    .name = "polling-fanout", .start = fanout_start, .on_ready = fanout_ready, .on_http = fanout_http, .on_tick = fanout_tick,
};
