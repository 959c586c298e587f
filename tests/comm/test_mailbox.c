/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Mailboxes: every interleaving of the protocol in a model; two threads on one box, for the thread sanitizer; many
 * messages of all ranks at once by each way, late at random; and that each of these finds what it is there to find.
 *
 * DPT_TEST_LONG=1 in the environment sends a million messages by the three ways on 2, 3 and 4 ranks, instead of
 * 45000: DPT_TEST_LONG=1 tests/run tests/comm/test_mailbox
 */

#include "world.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/mailbox.h"
#include "comm/mailbox_impl.h"

/* ------------------------------------------------------------------------------------------------------ the model */

/*
 * A writer that sends SENDS messages, each written in two halves, and a reader. One step is one access to memory that
 * the other can see. A state is everything that both know.
 */
enum { SENDS = 5, STATES = 1 << 16 };
enum writer { RECLAIM, FIRST_HALF, SECOND_HALF, OFFER, WRITER_DONE };
enum reader { PEEK, SWAP, READ_FIRST, READ_SECOND };

struct state {
    int16_t word;
    uint8_t writer, reader, back, front; /* program counters and slots                    */
    uint8_t half[3][2];                  /* of each slot: number of the message in it     */
    uint8_t merged[3];                   /* messages that are in it                       */
    uint8_t sent, keeps;                 /* messages made; of them in the writer's hands  */
    uint8_t got, last, first;            /* messages received; number read; its first half */
};

struct model {
    bool naive; /* the writer writes where the reader reads */
    struct state seen[STATES];
    bool used[STATES];
    int states, torn, lost, disorder, shared;
};

static bool is_new(struct model *m, const struct state *s)
{
    uint64_t at = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof *s; i++) {
        at = (at ^ ((const unsigned char *)s)[i]) * UINT64_C(1099511628211);
    }
    for (at %= STATES; m->used[at]; at = (at + 1) % STATES) {
        if (memcmp(&m->seen[at], s, sizeof *s) == 0) {
            return false;
        }
    }
    m->used[at] = true;
    m->seen[at] = *s;
    assert_true(++m->states < STATES / 2);
    return true;
}

static void step_writer(const struct model *m, struct state *s)
{
    int slot = s->back;
    switch ((enum writer)s->writer) {
    case RECLAIM: {
        const int16_t before = s->word;
        s->word = (int16_t)dpt_mailbox__give(s->back);
        if (dpt_mailbox__got(before, &slot)) {
            s->keeps = (uint8_t)(s->keeps + s->merged[slot]);
        }
        s->back = (uint8_t)slot;
        s->sent++;
        s->keeps++;
        s->writer = FIRST_HALF;
        break;
    }
    case FIRST_HALF:
        s->half[m->naive ? s->front : s->back][0] = s->sent;
        s->writer = SECOND_HALF;
        break;
    case SECOND_HALF:
        s->half[m->naive ? s->front : s->back][1] = s->sent;
        s->merged[s->back] = s->keeps;
        s->writer = OFFER;
        break;
    case OFFER: {
        const int16_t before = s->word;
        s->word = (int16_t)dpt_mailbox__offer(s->back);
        dpt_mailbox__got(before, &slot);
        s->back = (uint8_t)slot;
        s->keeps = 0;
        s->writer = s->sent == SENDS ? WRITER_DONE : RECLAIM;
        break;
    }
    case WRITER_DONE:
        break;
    }
}

static void step_reader(struct model *m, struct state *s)
{
    int slot = s->front;
    switch ((enum reader)s->reader) {
    case PEEK:
        s->reader = dpt_mailbox__got(s->word, &slot) ? SWAP : PEEK;
        break;
    case SWAP: {
        const int16_t before = s->word;
        s->word = (int16_t)dpt_mailbox__give(s->front);
        const bool fresh = dpt_mailbox__got(before, &slot);
        s->front = (uint8_t)slot;
        s->got = (uint8_t)(s->got + (fresh ? s->merged[slot] : 0));
        s->reader = fresh ? READ_FIRST : PEEK;
        break;
    }
    case READ_FIRST:
        s->first = s->half[s->front][0];
        s->reader = READ_SECOND;
        break;
    case READ_SECOND:
        m->torn += s->half[s->front][1] != s->first;
        m->disorder += s->first <= s->last;
        s->last = s->first;
        s->first = 0;
        s->reader = PEEK;
        break;
    }
}

static void explore(struct model *m, const struct state *s)
{
    int middle;
    if (!is_new(m, s)) {
        return;
    }
    const bool fresh = dpt_mailbox__got(s->word, &middle);
    m->shared += s->back == s->front || s->back == middle || s->front == middle;
    m->lost += s->got + s->keeps + (fresh ? s->merged[middle] : 0) != s->sent;
    struct state next = *s;
    step_writer(m, &next);
    explore(m, &next);
    next = *s;
    step_reader(m, &next);
    explore(m, &next);
}

static void run_model(struct model *m)
{
    struct state begin;
    memset(&begin, 0, sizeof begin);
    begin.word = (int16_t)dpt_mailbox__give(DPT_MAILBOX__MIDDLE);
    begin.back = DPT_MAILBOX__BACK;
    begin.front = DPT_MAILBOX__FRONT;
    explore(m, &begin);
}

static void every_interleaving(void **unused)
{
    (void)unused;
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    run_model(m);
    assert_true(m->states > 400);
    assert_int_equal(m->torn + m->lost + m->disorder + m->shared, 0);
    memset(m, 0, sizeof *m);
    m->naive = true;
    run_model(m);
    assert_true(m->torn > 0); /* or the model could not tell */
    free(m);
}

/* ----------------------------------------------------------------------------------------------- what a message says
 */

enum { NUMBERS = 2048 };

static int64_t pattern(int box, int64_t number, int i)
{
    return number * INT64_C(1000003) + box * INT64_C(7919) + i;
}

/* Late at random: mostly not at all, else a yield, a spin or a nap. */
static uint32_t draw(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void dawdle(uint32_t *seed)
{
    const uint32_t x = draw(seed) % 128;
    if (x < 16) {
        sched_yield();
    } else if (x < 24) {
        for (volatile int i = 0; i < 2000; i++) {
        }
    } else if (x < 28) {
        usleep(draw(seed) % 200);
    }
}

/* One side of a box. */
struct traffic {
    int64_t sent, merged; /* writer: messages made; in the last one that was posted */
    int64_t got, last;    /* reader: messages that came, merged ones counted; the number of the last */
    int64_t torn, disorder;
    double sent_mass, got_mass, keeps;
};

static void send_one(struct dpt_mailboxes *boxes, int box, struct traffic *t, uint32_t *seed)
{
    int64_t data[NUMBERS];
    bool unread, replaced;
    const double mass = draw(seed) % 1000;
    assert_int_equal(dpt_mailbox_reclaim(boxes, box, &unread), DPT_STATUS_OK);
    t->merged = unread ? t->merged + 1 : 1;
    t->keeps = (unread ? t->keeps : 0.0) + mass;
    t->sent++;
    t->sent_mass += mass;
    dawdle(seed);
    for (int i = 0; i < NUMBERS; i++) {
        data[i] = pattern(box, t->sent, i);
    }
    const struct dpt_mailbox_header header = {.step = t->sent, .count = t->merged, .mass = t->keeps};
    assert_int_equal(dpt_mailbox_post(boxes, box, &header, data, sizeof data, &replaced), DPT_STATUS_OK);
    assert_false(replaced);
}

static void take_one(struct dpt_mailboxes *boxes, int box, struct traffic *t, uint32_t *seed)
{
    const struct dpt_mailbox_header *header;
    const void *data;
    assert_int_equal(dpt_mailbox_take(boxes, box, &header, &data), DPT_STATUS_OK);
    if (!header) {
        return;
    }
    const int64_t number = header->step;
    t->got += header->count;
    t->got_mass += header->mass;
    t->disorder += number <= t->last || t->got != number;
    t->last = number;
    int64_t wrong = 0;
    for (int i = 0; i < NUMBERS; i++) {
        if (i == NUMBERS / 2) {
            dawdle(seed);
        }
        wrong += ((const int64_t *)data)[i] != pattern(box, number, i);
    }
    t->torn += wrong > 0;
}

/* ----------------------------------------------------------------------------------------------------- two threads */

static const int thread_messages = 4000;

struct side {
    struct dpt_mailboxes *boxes;
    struct traffic traffic;
    atomic_int *done;
};

static void *write_all(void *argument)
{
    struct side *side = argument;
    uint32_t seed = 7;
    for (int i = 0; i < thread_messages; i++) {
        send_one(side->boxes, 0, &side->traffic, &seed);
        dpt_mailboxes_tell(side->boxes, i);
        dawdle(&seed);
    }
    atomic_store(side->done, 1);
    return NULL;
}

static void two_threads(void **unused)
{
    (void)unused;
    if (dpt_comm_rank(world) > 0) {
        return;
    }
    const struct dpt_mailbox box = {.writer = 0, .reader = 1, .nbytes = NUMBERS * sizeof(int64_t)};
    const struct dpt_mailbox_conf conf = {.nboxes = 1, .box = &box};
    atomic_int done = 0;
    struct side side[2] = {{.done = &done}, {.done = &done}};
    char *block = NULL;
    for (int r = 0; r < 2; r++) {
        side[r].boxes = dpt_mailbox__new(&conf, r, 2);
        side[r].boxes->way = &dpt_mailbox__shm;
        const size_t nbytes = dpt_mailbox__shm_nbytes(side[r].boxes);
        if (!block) {
            block = aligned_alloc(4096, (nbytes + 4095) / 4096 * 4096);
            memset(block, 0, nbytes);
            dpt_mailbox__shm_prepare(side[r].boxes, block);
        }
        assert_true(dpt_mailbox__shm_use(side[r].boxes, block));
    }
    pthread_t thread;
    uint32_t seed = 11;
    int64_t clock = 0, before = 0;
    assert_int_equal(pthread_create(&thread, NULL, write_all, &side[0]), 0);
    for (bool last = false; !last;) {
        last = atomic_load(&done) == 1;
        take_one(side[1].boxes, 0, &side[1].traffic, &seed);
        dpt_mailboxes_told(side[1].boxes, 0, &clock);
        assert_true(clock >= before);
        before = clock;
        dawdle(&seed);
    }
    pthread_join(thread, NULL);
    take_one(side[1].boxes, 0, &side[1].traffic, &seed);
    assert_int_equal(side[1].traffic.torn + side[1].traffic.disorder, 0);
    assert_int_equal(side[1].traffic.got, thread_messages);
    assert_true(side[1].traffic.got_mass == side[0].traffic.sent_mass);
    for (int r = 0; r < 2; r++) {
        side[r].boxes->way->close(side[r].boxes);
        dpt_mailbox__free(side[r].boxes);
    }
    free(block);
}

/* ------------------------------------------------------------------------------------------------------ all at once */

/* A box from each rank to each other. */
static int list_pairs(struct dpt_mailbox *box)
{
    int count = 0;
    for (int w = 0; w < dpt_comm_size(world); w++) {
        for (int r = 0; r < dpt_comm_size(world); r++) {
            if (w != r) {
                box[count++] = (struct dpt_mailbox){.writer = w, .reader = r, .nbytes = NUMBERS * sizeof(int64_t)};
            }
        }
    }
    return count;
}

/* Messages by one way on this number of ranks, of those that the whole test sends on 2, 3 and 4 ranks by three ways. */
static int64_t messages(void)
{
    const char *asked = getenv("DPT_TEST_LONG");
    return (asked && *asked && *asked != '0' ? 1000000 : 45000) / 9 + 1;
}

static void read_all(struct dpt_mailboxes *boxes, struct traffic *t, uint32_t *seed)
{
    for (int b = 0; b < boxes->nboxes; b++) {
        if (boxes->box[b].reader == boxes->rank) {
            take_one(boxes, b, &t[b], seed);
        }
    }
    assert_int_equal(dpt_mailboxes_pump(boxes), DPT_STATUS_OK);
}

static bool all_settled(struct dpt_mailboxes *boxes)
{
    bool all = true, settled;
    for (int b = 0; b < boxes->nboxes; b++) {
        if (boxes->box[b].writer == boxes->rank) {
            assert_int_equal(dpt_mailbox_settled(boxes, b, &settled), DPT_STATUS_OK);
            all = all && settled;
        }
    }
    return all;
}

static bool all_done(struct dpt_mailboxes *boxes)
{
    int64_t word;
    bool all = true;
    for (int r = 0; r < boxes->size; r++) {
        assert_int_equal(dpt_mailboxes_told(boxes, r, &word), DPT_STATUS_OK);
        all = all && word == 1;
    }
    return all;
}

/* Every rank writes to all others as fast as it can, reads what comes, and then all that is left. */
static void exchange_by(enum dpt_mailbox_way way, const char *name)
{
    struct dpt_mailbox box[64];
    struct traffic traffic[64] = {{0}};
    const struct dpt_mailbox_conf conf = {.comm = world, .way = way, .nboxes = list_pairs(box), .box = box};
    const int64_t each = messages() / dpt_comm_size(world) + 1;
    struct dpt_mailboxes *boxes;
    uint32_t seed = 2463534242u + (uint32_t)dpt_comm_rank(world) * 97u + (uint32_t)way;
    assert_int_equal(dpt_mailboxes_open(&conf, &boxes), DPT_STATUS_OK);
    assert_string_equal(dpt_mailboxes_name(boxes), name);
    for (int64_t i = 0, b = 0; i < each; b = (b + 1) % boxes->nboxes) {
        if (boxes->box[b].writer == boxes->rank) {
            send_one(boxes, (int)b, &traffic[b], &seed);
            dawdle(&seed); /* or nothing would stay in a box for more than a moment */
            read_all(boxes, traffic, &seed);
            i++;
        }
    }
    while (!all_settled(boxes)) {
        read_all(boxes, traffic, &seed);
        sched_yield();
    }
    assert_int_equal(dpt_mailboxes_tell(boxes, 1), DPT_STATUS_OK);
    while (!all_done(boxes)) {
        read_all(boxes, traffic, &seed);
        sched_yield();
    }
    /* Whole numbers in doubles: what came is what was sent, exactly. */
    double sum[4] = {0.0};
    for (int b = 0; b < boxes->nboxes; b++) {
        const struct traffic *t = &traffic[b];
        assert_int_equal(t->torn + t->disorder, 0);
        sum[0] += (double)t->sent;
        sum[1] += (double)t->got;
        sum[2] += t->sent_mass;
        sum[3] += t->got_mass;
    }
    assert_int_equal(dpt_comm_allreduce(world, sum, 4, DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    assert_true(sum[0] == (double)each * dpt_comm_size(world));
    assert_true(sum[1] == sum[0] && sum[3] == sum[2] && sum[2] > 0.0);
    const struct dpt_mailbox_stats *stats = dpt_mailboxes_stats(boxes);
    double counts[3] = {(double)stats->posted, (double)stats->taken, (double)stats->reclaimed};
    assert_int_equal(dpt_comm_allreduce(world, counts, 3, DPT_DTYPE_F64, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    assert_true(stats->replaced == 0 && counts[0] == sum[0] && counts[1] + counts[2] == counts[0]);
    if (dpt_comm_rank(world) == 0) {
        printf("%s, %d ranks: %.0f messages, %.0f taken back and merged, 0 torn, 0 out of order, mass %.0f of %.0f\n",
               name, dpt_comm_size(world), counts[0], counts[2], sum[3], sum[2]);
    }
    dpt_mailboxes_close(boxes);
}

static void exchange_shm(void **unused)
{
    (void)unused;
    exchange_by(DPT_MAILBOX_WAY_SHM, "shared memory");
}

static void exchange_rma(void **unused)
{
    (void)unused;
    exchange_by(DPT_MAILBOX_WAY_RMA, "one-sided MPI");
}

static void exchange_p2p(void **unused)
{
    (void)unused;
    exchange_by(DPT_MAILBOX_WAY_P2P, "messages of MPI");
}

/* -------------------------------------------------------------------------------------- what the tests must find */

/* Writes where the reader reads. */
static enum dpt_status put_naive(struct dpt_mailboxes *boxes, int box, int slot,
                                 const struct dpt_mailbox_header *header, const void *data)
{
    char *at = (char *)dpt_mailbox__shm.slot(boxes, box, 0);
    (void)slot;
    memcpy(at, header, sizeof *header);
    for (size_t i = 0; i < header->nbytes; i += 512) {
        const size_t left = header->nbytes - i;
        memcpy(at + sizeof *header + i, (const char *)data + i, left < 512 ? left : 512);
        if (i % 4096 == 0) {
            sched_yield();
        }
    }
    return DPT_STATUS_OK;
}

static const char *slot_naive(struct dpt_mailboxes *boxes, int box, int slot)
{
    (void)slot;
    return dpt_mailbox__shm.slot(boxes, box, 0);
}

static bool read_naive(struct dpt_mailboxes *boxes, int box)
{
    const struct dpt_mailbox_header *header;
    const void *data;
    int64_t wrong = 0;
    boxes->end[box].number = -1; /* the order is not what is asked here */
    if (dpt_mailbox_take(boxes, box, &header, &data) != DPT_STATUS_OK || !header) {
        sched_yield();
        return false;
    }
    const int64_t number = header->step;
    for (int i = 0; i < NUMBERS; i++) {
        if (i % 512 == 0) {
            sched_yield();
        }
        wrong += ((const int64_t *)data)[i] != pattern(box, number, i);
    }
    return wrong > 0;
}

/* The same traffic by a way that overwrites what is being read: the checks above must see it. */
static void naive_is_torn(void **unused)
{
    (void)unused;
    struct dpt_mailbox box[64];
    struct traffic traffic[64] = {{0}};
    const struct dpt_mailbox_conf conf = {
        .comm = world, .way = DPT_MAILBOX_WAY_SHM, .nboxes = list_pairs(box), .box = box};
    struct dpt_mailbox__way naive = dpt_mailbox__shm;
    struct dpt_mailboxes *boxes;
    uint32_t seed = 88172645u + (uint32_t)dpt_comm_rank(world);
    int64_t bad = 0;
    naive.put = put_naive;
    naive.slot = slot_naive;
    assert_int_equal(dpt_mailboxes_open(&conf, &boxes), DPT_STATUS_OK);
    boxes->way = &naive;
    /* Odd ranks do nothing but write, even ones nothing but read, until each of these has seen it. */
    const double until = dpt_clock_s() + 20.0;
    bool seen = dpt_comm_rank(world) % 2 == 1;
    dpt_mailboxes_tell(boxes, seen);
    while (!all_done(boxes) && dpt_clock_s() < until) {
        for (int b = 0; b < boxes->nboxes; b++) {
            if (boxes->box[b].writer % 2 == 0 || boxes->box[b].reader % 2 == 1) {
                continue;
            }
            if (boxes->box[b].writer == boxes->rank) {
                send_one(boxes, b, &traffic[b], &seed);
            } else if (boxes->box[b].reader == boxes->rank) {
                traffic[b].torn += read_naive(boxes, b);
                seen = seen || traffic[b].torn > 0;
                dpt_mailboxes_tell(boxes, seen);
            }
        }
    }
    for (int b = 0; b < boxes->nboxes; b++) {
        bad += traffic[b].torn;
    }
    assert_int_equal(dpt_comm_allreduce(world, &bad, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    if (dpt_comm_rank(world) == 0) {
        printf("naive, %d ranks: %lld torn\n", dpt_comm_size(world), (long long)bad);
    }
    assert_true(bad > 0);
    boxes->way = &dpt_mailbox__shm;
    dpt_mailboxes_close(boxes);
}

/* A counter that forgets, a word that is not swapped, a put that does not arrive. */
static enum dpt_status draw_wrong(struct dpt_mailboxes *boxes, int64_t add, int64_t *before)
{
    return dpt_mailbox__shm.draw(boxes, add > 0 ? 2 * add : 0, before);
}

static enum dpt_status swap_wrong(struct dpt_mailboxes *boxes, int box, int64_t word, int64_t *before)
{
    const enum dpt_status status = dpt_mailbox__shm.swap(boxes, box, word, before);
    *before &= ~(int64_t)DPT_MAILBOX__FRESH;
    return status;
}

static enum dpt_status put_wrong(struct dpt_mailboxes *boxes, int box, int slot,
                                 const struct dpt_mailbox_header *header, const void *data)
{
    struct dpt_mailbox_header less = *header;
    less.nbytes -= 4;
    return dpt_mailbox__shm.put(boxes, box, slot, &less, data);
}

static void broken_ways_fail(void **unused)
{
    (void)unused;
    char reason[160];
    struct dpt_mailbox__way broken[3] = {dpt_mailbox__shm, dpt_mailbox__shm, dpt_mailbox__shm};
    broken[0].draw = draw_wrong;
    broken[1].swap = swap_wrong;
    broken[2].put = put_wrong;
    for (int i = 0; i < 3; i++) {
        assert_false(dpt_mailbox__passes(world, &broken[i], reason));
        assert_true(reason[0] != '\0');
    }
    assert_true(dpt_mailbox__passes(world, &dpt_mailbox__shm, reason));
}

/* All ranks are on one host: memory is the first choice, and there is nothing to tell. */
static void chooses_memory(void **unused)
{
    (void)unused;
    struct dpt_mailbox box[64];
    const struct dpt_mailbox_conf conf = {.comm = world, .nboxes = list_pairs(box), .box = box};
    struct dpt_mailboxes *boxes;
    assert_int_equal(dpt_mailboxes_open(&conf, &boxes), DPT_STATUS_OK);
    assert_string_equal(dpt_mailboxes_name(boxes), "shared memory");
    assert_string_equal(dpt_mailboxes_note(boxes), "");
    dpt_mailboxes_close(boxes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_interleaving), cmocka_unit_test(two_threads),      cmocka_unit_test(chooses_memory),
        cmocka_unit_test(exchange_shm),       cmocka_unit_test(exchange_rma),     cmocka_unit_test(exchange_p2p),
        cmocka_unit_test(naive_is_torn),      cmocka_unit_test(broken_ways_fail),
    };
    return RUN_IN_WORLD(tests);
}
