/* Works: echo (acknowledged events with a string or an object) and binary (the same with an attachment). */
#include "load.h"

char *echo_text;

/* What stands before the payload of an event, and behind it. */
static const struct { const char *middle, *end; } events[] = {
    {"\"echo\",", "]"},
    {"\"untyped\",{\"room\":\"lobby\",\"number\":42,\"tags\":[\"news\",\"sport\"],\"text\":", "}]"},
    {"\"typed\",{\"room\":\"lobby\",\"number\":42,\"tags\":[\"news\",\"sport\"],\"text\":", "}]"},
};

size_t echo_packet(const char *prefix, int index, uint32_t id, const char *middle, const char *end)
{
    if (echo_text == NULL) echo_text = zeroed(1, MAX_PAYLOAD + 256);
    char *at = put_number(stpcpy(echo_text, prefix), id, 10);
    *at++ = '[';
    at = stpcpy(at, middle);
    *at++ = '"';
    fill_payload(at, (unsigned long)index, id);
    at += option.payload;
    *at++ = '"';
    return (size_t)(stpcpy(at, end) - echo_text);
}

static void start(void)
{
    create_connections(option.clients);
    for (int i = 0; i < connection_count; i++) connections[i].own = zeroed((size_t)option.in_flight, sizeof(Slot));
}

static Slot *slot_of(const Connection *connection, uint32_t id)
{
    return &((Slot *)connection->own)[id % (uint32_t)option.in_flight];
}

static void sent(Connection *connection, uint32_t id)
{
    *slot_of(connection, id) = (Slot){.id = id, .busy = true, .sent = monotonic()};
    sent_total++;
}

static void answered(Slot *slot, uint64_t now)
{
    slot->busy = false;
    answered_total++;
    if (phase == MEASURE) {
        operations++;
        sample(now - slot->sent);
    }
}

static void begin(void (*send)(Connection *, uint32_t id), uint64_t now)
{
    if (ready_count < connection_count) return;
    enter(WARMUP, now);
    for (int i = 0; i < connection_count; i++) {
        for (int k = 0; k < option.in_flight; k++) send(&connections[i], (uint32_t)k);
        flush(&connections[i]);
    }
}

static void tick(uint64_t now)
{
    advance(now);
    if (phase == DRAIN && sent_total == answered_total) phase = DONE;
}

/* ---------------------------------------------------------------- echo */

static void echo_send(Connection *connection, uint32_t id)
{
    size_t length = echo_packet("42", connection->index, id, events[option.object].middle, events[option.object].end);
    text_frame(connection, echo_text, length);
    sent(connection, id);
}

static void echo_ready(Connection *connection, uint64_t now)
{
    (void)connection;
    begin(echo_send, now);
}

static void echo_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    uint32_t id = length > 1 && text[0] == '3' ? (uint32_t)strtoul(text + 1, NULL, 10) : 0;
    Slot *slot = slot_of(connection, id);
    size_t expected = echo_packet("3", connection->index, slot->id, "", "]");
    if (!slot->busy || length != expected || memcmp(text, echo_text, length) != 0)
        die("connection %d: answer %.*s where %.*s was due", connection->index, shown(length), text, shown(expected), echo_text);
    answered(slot, now);
    if (phase < DRAIN) echo_send(connection, id + (uint32_t)option.in_flight);
}

const Work echo_work = {
    .name = "echo", .start = start, .on_ready = echo_ready, .on_message = echo_message, .on_tick = tick,
};

/* ---------------------------------------------------------------- binary */

/*
 * An event is two messages, a text with a placeholder and the attachment; so is its acknowledgement. The attachment's bytes
 * take all values, and begin with a mark of their own.
 */
static char *attachment;
static Slot **awaited; /* by connection: the slot whose text has come, and whose attachment must be next */

static void binary_start(void)
{
    start();
    attachment = zeroed(1, MAX_PAYLOAD);
    for (int i = 0; i < option.payload; i++) attachment[i] = (char)(i * 37 + i / 256);
    awaited = zeroed((size_t)connection_count, sizeof *awaited);
}

static const char *attachment_of(int index, uint32_t id)
{
    uint32_t mark[2] = {(uint32_t)index, id};
    memcpy(attachment, mark, sizeof mark);
    return attachment;
}

static void binary_send(Connection *connection, uint32_t id)
{
    char text[96];
    int length = snprintf(text, sizeof text, "451-%u[\"binary\",{\"_placeholder\":true,\"num\":0}]", id);
    text_frame(connection, text, (size_t)length);
    frame(connection, 2, attachment_of(connection->index, id), (size_t)option.payload);
    sent(connection, id);
}

static void binary_ready(Connection *connection, uint64_t now)
{
    (void)connection;
    begin(binary_send, now);
}

static void binary_message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    (void)now;
    uint32_t id = starts_with(text, length, "61-") ? (uint32_t)strtoul(text + 3, NULL, 10) : 0;
    Slot *slot = slot_of(connection, id);
    char due[96];
    snprintf(due, sizeof due, "61-%u[{\"_placeholder\":true,\"num\":0}]", slot->id);
    if (!slot->busy || awaited[connection->index] != NULL || !equals(text, length, due))
        die("connection %d: answer %.*s where %s was due", connection->index, shown(length), text, due);
    awaited[connection->index] = slot;
}

static void binary_attachment(Connection *connection, const char *bytes, size_t length, uint64_t now)
{
    Slot *slot = awaited[connection->index];
    if (slot == NULL || length != (size_t)option.payload || memcmp(bytes, attachment_of(connection->index, slot->id), length) != 0)
        die("connection %d: a wrong attachment of %zu bytes", connection->index, length);
    awaited[connection->index] = NULL;
    answered(slot, now);
    if (phase < DRAIN) binary_send(connection, slot->id + (uint32_t)option.in_flight);
}

const Work binary_work = {
    .name = "binary", .start = binary_start, .on_ready = binary_ready, .on_message = binary_message,
    .on_binary = binary_attachment, .on_tick = tick,
};
