/*
 * Work: fanout. A publisher, in no room itself, has the server broadcast to rooms; all members hear it, once and in order.
 *
 * As it comes, the next broadcast goes to a room when all have heard the last one: to one room (fanout), to --in-flight of
 * --rooms at a time, and --burst broadcasts with one event. More options:
 *
 *     --eio3 1       each second member speaks Engine.IO 3
 *     --churners N   N more clients join the room or leave it with each broadcast, and are waited for like the members. What
 *                    they hear must be whole and in order, and nothing of what is said after they heard the answer to their leave.
 *     --rate R       R broadcasts a second, whether the last one is heard or not; a latency for each delivery, from the
 *                    moment when the broadcast was due
 *     --slow N       N members stop reading before the first broadcast. Whether the server keeps them or cuts them, is its
 *                    own business; the others must hear all.
 */
#include "load.h"

struct Room {
    char name[24];
    int index;
    int members;     /* those that must hear what is said */
    long rounds;     /* how often was something said in it */
    long missing;    /* deliveries that have not come */
    uint64_t *sent;  /* when each round was due, and how many fit in there */
    long capacity;
};

/* What a broadcast looks like; the members of a room await the same ones, so few are made anew. */
typedef struct { const Room *room; long number; size_t length; char *text; } Due;

typedef struct { bool inside, waiting; uint32_t id; long heard, end; } Churner; /* end: it must not hear this one, or later ones */

Connection *publisher;

enum { DUES = 16, GRACE = 50000000 /* nanoseconds */ };

static Room *rooms;
static Due dues[DUES];
static char *speech;
static Member *members;
static Churner *churners;
static int joined, churners_waiting, next_room;
static uint64_t rss_before, rss_after;

/* ---------------------------------------------------------------- rooms and their members */

void create_rooms(int count)
{
    rooms = zeroed((size_t)count, sizeof *rooms);
    speech = zeroed(1, MAX_PAYLOAD + 256);
    for (int i = 0; i < DUES; i++) dues[i].text = zeroed(1, MAX_PAYLOAD + 256);
    for (int i = 0; i < count; i++) {
        rooms[i].index = i;
        if (count == 1) strcpy(rooms[i].name, "bench");
        else snprintf(rooms[i].name, sizeof rooms[i].name, "bench-%d", i);
    }
}

void create_publisher(Connection *connection) { publisher = connection; }

/* The event that makes its sender a member. */
int join_packet(char *text, size_t size, const char *prefix, int room)
{
    return snprintf(text, size, "%s0[\"join\",\"%s\"]", prefix, rooms[room].name);
}

void member_joins(Member *member, int room)
{
    member->room = &rooms[room];
    if (!member->slow) member->room->members++;
}

void member_joined(Member *member, int index)
{
    if (phase != PREPARE || member->joined) die("member %d: joined twice", index);
    member->joined = true;
    joined++;
}

static const Due *due(const Room *room, long number)
{
    Due *one = &dues[(unsigned long)(number + room->index) % DUES];
    if (one->room == room && one->number == number) return one;
    char *at = put_number(stpcpy(one->text, "2[\"broadcast\","), (unsigned long)(number % option.burst), 10);
    at = stpcpy(at, ",\"");
    fill_payload(at, (unsigned long)room->index, (unsigned long)(number / option.burst));
    one->length = (size_t)(stpcpy(at + option.payload, "\"]") - one->text);
    one->room = room;
    one->number = number;
    return one;
}

static void publish(Room *room, uint64_t when)
{
    if (room->rounds == room->capacity) {
        room->capacity = room->capacity ? room->capacity * 2 : 64;
        room->sent = grown(room->sent, (size_t)room->capacity * sizeof *room->sent);
    }
    int length = sprintf(speech, "42[\"broadcast\",\"%s\",\"", room->name);
    fill_payload(speech + length, (unsigned long)room->index, (unsigned long)room->rounds);
    length += option.payload;
    length += sprintf(speech + length, "\",%d]", option.burst);
    long deliveries = (long)room->members * option.burst;
    room->sent[room->rounds++] = when;
    room->missing += deliveries;
    sent_total += deliveries;
    text_frame(publisher, speech, (size_t)length);
    flush(publisher);
}

static void churn(int from, int to);

static void publish_next(void)
{
    while (rooms[next_room].missing > 0) next_room = (next_room + 1) % option.rooms; /* a slower one is still under way */
    Room *room = &rooms[next_room];
    next_room = (next_room + 1) % option.rooms;
    churn(0, option.churners / 2);
    publish(room, monotonic());
    churn(option.churners / 2, option.churners);
}

static void round_is_over(const Room *room, uint64_t now)
{
    if (phase == MEASURE) {
        operations += (long)room->members * option.burst;
        sample(now - room->sent[room->rounds - 1]);
    }
    advance(now); /* phases change between rounds only */
    if (phase < DRAIN) publish_next();
}

void member_hears(Member *member, int index, const char *text, size_t length, uint64_t now)
{
    Room *room = member->room;
    long end = room->rounds * option.burst;
    const Due *next = due(room, member->heard);
    if (!member->joined || member->heard >= end || length != next->length || memcmp(text, next->text, length) != 0)
        die("member %d: got %.*s where %s was due", index, shown(length), text,
            member->joined && member->heard < end ? next->text : "nothing");
    long round = member->heard++ / option.burst;
    answered_total++;
    room->missing--;
    if (option.rate > 0) {
        if (phase != MEASURE) return;
        operations++;
        sample(now - room->sent[round]);
    } else if (room->missing == 0 && churners_waiting == 0) {
        round_is_over(room, now);
    }
}

/* Everyone is connected; the work begins when all are in their rooms, too. */
void rooms_begin(uint64_t now)
{
    if (phase != PREPARE || joined < option.clients) return;
    enter(WARMUP, now);
    if (option.rate > 0) every(1.0 / option.rate);
    for (int i = 0; option.rate <= 0 && i < option.in_flight; i++) publish_next();
}

void rooms_end(uint64_t now)
{
    /* A short grace in which a surplus delivery would show itself. */
    if (phase == DRAIN && now - phase_began > GRACE && sent_total == answered_total && churners_waiting == 0) phase = DONE;
}

/* ---------------------------------------------------------------- over WebSocket */

static int churner_of(const Connection *connection) { return connection->index - option.clients; }

static void start(void)
{
    if (option.clients < option.rooms) die("a room would be empty");
    if (option.in_flight > option.rooms) die("--in-flight is more than --rooms");
    if (option.churners > 0 && (option.rooms > 1 || option.rate > 0)) die("--churners: to one room, and without --rate");
    if (option.rate > 0 && option.rooms > 1) die("--rate: to one room");
    if (option.slow > 0 && option.rate <= 0) die("--slow needs --rate");
    if (option.slow > option.clients) die("--slow is more than --clients");
    create_connections(option.clients + option.churners + 1);
    create_publisher(&connections[connection_count - 1]);
    create_rooms(option.rooms);
    members = zeroed((size_t)option.clients, sizeof *members);
    churners = zeroed((size_t)option.churners + 1, sizeof *churners);
    for (int i = 0; i < option.churners; i++) churners[i].heard = -1;
    for (int i = 0; i < option.clients; i++) {
        members[i].slow = option.slow > 0 && i % (option.clients / option.slow) == 0 && i / (option.clients / option.slow) < option.slow;
        member_joins(&members[i], i % option.rooms);
        connections[i].own = &members[i];
        connections[i].narrow = members[i].slow;
        if (option.eio3 && i % 2) connections[i].generation = 3;
    }
}

static void ready(Connection *connection, uint64_t now)
{
    (void)now;
    if (connection->own == NULL) return; /* a churner, or the publisher */
    char packet[64];
    int length = join_packet(packet, sizeof packet, "42", connection->index % option.rooms);
    text_frame(connection, packet, (size_t)length);
}

static void churn(int from, int to)
{
    for (int i = from; i < to; i++) {
        char packet[64];
        Churner *churner = &churners[i];
        Connection *connection = &connections[option.clients + i];
        int length = snprintf(packet, sizeof packet, "42%u[\"%s\",\"%s\"]", churner->id, churner->inside ? "leave" : "join", rooms[0].name);
        churner->waiting = true;
        churners_waiting++;
        text_frame(connection, packet, (size_t)length);
        flush(connection);
    }
}

static void churner_hears(Churner *churner, int index, const char *text, size_t length, uint64_t now)
{
    char answer[32];
    snprintf(answer, sizeof answer, "3%u[]", churner->id);
    if (churner->waiting && equals(text, length, answer)) {
        churner->waiting = false;
        churner->inside = !churner->inside;
        churner->end = rooms[0].rounds * option.burst;
        churner->id++;
        if (--churners_waiting == 0 && rooms[0].missing == 0) round_is_over(&rooms[0], now);
        return;
    }
    /* Which one it is, the text says itself; it must be later than the last one, and have been said already. */
    static const char start_of[] = "2[\"broadcast\",";
    char *end = NULL;
    long number = -1, at = starts_with(text, length, start_of) ? strtol(text + sizeof start_of - 1, &end, 10) : -1;
    if (at >= 0 && starts_with(end, (size_t)(text + length - end), ",\"0-")) number = strtol(end + 4, NULL, 16) * option.burst + at;
    long over = churner->inside || churner->waiting ? rooms[0].rounds * option.burst : churner->end;
    if (number <= churner->heard || number >= over || !equals(text, length, due(&rooms[0], number)->text))
        die("churner %d, %s: got %.*s after broadcast %ld, and before %ld", index, churner->inside ? "inside" : "outside",
            shown(length), text, churner->heard, over);
    churner->heard = number;
}

static void message(Connection *connection, const char *text, size_t length, uint64_t now)
{
    Member *member = connection->own;
    if (connection == publisher) die("the publisher got %.*s", shown(length), text);
    if (member == NULL) {
        churner_hears(&churners[churner_of(connection)], churner_of(connection), text, length, now);
    } else if (!member->joined && equals(text, length, "30[]")) {
        member_joined(member, connection->index);
        if (member->slow) deafen(connection);
    } else {
        member_hears(member, connection->index, text, length, now);
    }
}

static void lost(Connection *connection) { (void)connection; }

/* ---------------------------------------------------------------- at a rate */

static void timer(uint64_t times, uint64_t now)
{
    uint64_t period = (uint64_t)(1e9 / option.rate);
    for (uint64_t left = times; left > 0 && phase < DRAIN; left--) publish(&rooms[0], now - (left - 1) * period);
}

static void tick(uint64_t now)
{
    if (ready_count == connection_count) rooms_begin(now);
    rooms_end(now);
    if (option.rate <= 0) return;
    if (phase == WARMUP && rss_before == 0 && (double)(now - phase_began) / 1e9 >= option.warmup) rss_before = server_rss();
    advance(now);
    if (phase == DRAIN && rss_after == 0) rss_after = server_rss();
}

static void print(void)
{
    if (option.rate <= 0) return;
    printf(",\"rss_before\":%llu,\"rss_after\":%llu,\"rss_growth\":%lld", (unsigned long long)rss_before,
           (unsigned long long)rss_after, (long long)rss_after - (long long)rss_before);
}

const Work fanout_work = {
    .name = "fanout", .start = start, .on_ready = ready, .on_message = message, .on_lost = lost, .on_timer = timer,
    .on_tick = tick, .print = print,
};
