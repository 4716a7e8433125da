/*
 * Works: connect (by WebSocket at once) and connect-upgrade (polling first, then WebSocket). So many clients as --concurrency
 * says are under way at a time; each takes its turn from dialling to the end of its connections, again and again.
 */
#include "load.h"

static int live;

static void begin(int clients)
{
    live = clients;
    sent_total = clients;
}

/* One is through. Returns whether it shall come again. */
static bool again(uint64_t took)
{
    answered_total++;
    if (phase == MEASURE) {
        operations++;
        sample(took);
    }
    if (phase < DRAIN) sent_total++;
    else live--;
    return phase < DRAIN;
}

static void tick(uint64_t now)
{
    if (phase == PREPARE && answered_total > 0) enter(WARMUP, now);
    advance(now);
    if (phase == DRAIN && live == 0) phase = DONE;
}

/* ---------------------------------------------------------------- connect */

static void direct_start(void)
{
    create_connections(option.concurrency);
    begin(option.concurrency);
}

static void direct_ready(Connection *connection, uint64_t now)
{
    (void)now;
    close_frame(connection);
}

static void direct_closed(Connection *connection, uint64_t now)
{
    if (!again(connection->connected_after)) return;
    dialling_count++;
    dial(connection, DIALLING, now);
}

const Work connect_work = {
    .name = "connect", .start = direct_start, .on_ready = direct_ready, .on_closed = direct_closed, .on_tick = tick,
};

/* ---------------------------------------------------------------- connect-upgrade */

/*
 * As the official client does it: GET opens the session; then all at once a GET waits, a POST has CONNECT, and a WebSocket is
 * opened and probed. When the probe is answered, no new GET is sent; when the last one and the POST are over, "5" makes the
 * WebSocket the session's transport. Then one acknowledged event, DISCONNECT, and the Close frame. A browser, too, has two
 * connections for GET and POST; here they are closed when the session is, so that no client profits from another's.
 */
typedef struct {
    Connection *get, *post, *websocket;
    int index;
    uint32_t turn; /* makes its event another one each time */
    uint64_t dialled, took;
    char sid[64];
    bool opened, joined, probed, switched;
} Climber;

static Climber *climbers;

static void climb(Climber *climber, uint64_t now)
{
    climber->turn++;
    climber->opened = climber->joined = climber->probed = climber->switched = false;
    climber->dialled = now;
    dial(climber->get, HTTP, now);
    http_request(climber->get, "", NULL, 0);
}

static void upgrade_start(void)
{
    create_connections(option.concurrency * 3);
    next_to_dial = connection_count;
    begin(option.concurrency);
    climbers = zeroed((size_t)option.concurrency, sizeof *climbers);
    for (int i = 0; i < option.concurrency; i++) {
        Connection *own = &connections[3 * i];
        climbers[i] = (Climber){.get = own, .post = own + 1, .websocket = own + 2, .index = i};
        own[0].own = own[1].own = own[2].own = &climbers[i];
        own[2].sid = climbers[i].sid;
        climb(&climbers[i], monotonic());
    }
}

static void say(Climber *climber)
{
    size_t length = echo_packet("42", climber->index, climber->turn, "\"echo\",", "]");
    text_frame(climber->websocket, echo_text, length);
}

static void try_to_switch(Climber *climber)
{
    if (!climber->probed || climber->switched || climber->get->http_waiting || climber->post->http_waiting) return;
    climber->switched = true;
    climber->websocket->state = READY;
    text_frame(climber->websocket, "5", 1);
    if (climber->joined) say(climber);
    flush(climber->websocket);
}

static void upgrade_probed(Connection *connection, uint64_t now)
{
    (void)now;
    Climber *climber = connection->own;
    climber->probed = true;
    try_to_switch(climber);
}

/* Returns whether it was the answer to CONNECT. */
static bool join(Climber *climber, const char *text, size_t length)
{
    if (climber->joined || !starts_with(text, length, "0{\"sid\":\"")) return false;
    climber->joined = true;
    return true;
}

static void polled(Climber *climber, const char *text, size_t length, uint64_t now)
{
    if (!climber->opened) {
        copy_sid(climber->sid, sizeof climber->sid, text, length);
        climber->opened = true;
        dial(climber->post, HTTP, now);
        http_request(climber->post, climber->sid, "40", 2);
        dial(climber->websocket, DIALLING, now);
        return;
    }
    if (length == 1 && text[0] == '6') return; /* noop */
    if (length < 2 || text[0] != '4' || !join(climber, text + 1, length - 1))
        die("client %d: got %.*s over polling", climber->index, shown(length), text);
}

static void upgrade_http(Connection *connection, int status, char *body, size_t length, uint64_t now)
{
    Climber *climber = connection->own;
    if (status != 200) die("client %d: HTTP %d: %.*s", climber->index, status, shown(length), body);
    if (connection == climber->post) {
        if (!equals(body, length, "ok") && !equals(body, length, "OK"))
            die("client %d: answer to POST: %.*s", climber->index, shown(length), body);
    } else {
        for (char *at = body, *end = body + length; at <= end;) { /* packets are separated by U+001E */
            char *next = memchr(at, 0x1E, (size_t)(end - at));
            size_t size = (size_t)((next ? next : end) - at);
            polled(climber, at, size, now);
            at += size + 1;
        }
        if (!climber->probed) http_request(climber->get, climber->sid, NULL, 0);
    }
    try_to_switch(climber);
}

static void upgrade_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    Climber *climber = connection->own;
    if (join(climber, text, length)) {
        say(climber);
        return;
    }
    size_t expected = echo_packet("3", climber->index, climber->turn, "", "]");
    if (length != expected || memcmp(text, echo_text, length) != 0)
        die("client %d: answer %.*s where %.*s was due", climber->index, shown(length), text, shown(expected), echo_text);
    climber->took = now - climber->dialled;
    text_frame(connection, "41", 2);
    close_frame(connection);
}

static void upgrade_closed(Connection *connection, uint64_t now)
{
    Climber *climber = connection->own;
    hang_up(climber->get);
    hang_up(climber->post);
    if (again(climber->took)) climb(climber, now);
}

const Work connect_upgrade_work = {
    .name = "connect-upgrade", .start = upgrade_start, .on_probed = upgrade_probed, .on_http = upgrade_http,
    .on_message = upgrade_message, .on_closed = upgrade_closed, .on_tick = tick,
};
