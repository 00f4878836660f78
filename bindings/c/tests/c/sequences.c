/* Random sequences of calls, right ones and wrong ones: sequences URI SEED STEPS [SECONDS]. Whatever is called in whatever
 * order with whatever handle ends with a code, every operation that a queue took ends once, and everything can be closed.
 * With SECONDS, one sequence after another for that long, each of the next seed. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <time.h>

#define PLACES 8
#define BATCH_MAX 16
/* Longest wait for the ends of a batch. */
#define PATIENCE_MS 60000

static const char *uri;
static uint64_t state;
static slotkv_client_t clients[PLACES];
static slotkv_scan_t scans[PLACES];
static slotkv_queue_t queues[PLACES];
static slotkv_pending_t pending[PLACES];
static slotkv_result_t results[PLACES];

/* splitmix64 */
static uint64_t chance(uint64_t bound) {
    uint64_t mixed = state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (mixed ^ (mixed >> 31)) % bound;
}

/* Mostly a handle of the kind, open or closed; now and then of another kind, or made up. */
static uint64_t one_of(const uint64_t *handles) {
    switch (chance(20)) {
    case 0:
        return chance(UINT64_MAX);
    case 1:
        return clients[chance(PLACES)];
    case 2:
        return scans[chance(PLACES)];
    case 3:
        return queues[chance(PLACES)];
    default:
        return handles[chance(PLACES)];
    }
}

static slotkv_bytes_t some_bytes(void) {
    static char room[40000];
    switch (chance(10)) {
    case 0:
        return slotkv_bytes(NULL, 0);
    case 1:
        return slotkv_bytes(NULL, chance(UINT64_MAX));
    case 2:
        return slotkv_bytes(room, chance(sizeof room));
    default:
        return slotkv_bytes("0123456789", 1 + chance(10));
    }
}

static slotkv_result_t *place(void) {
    slotkv_result_t *result = &results[chance(PLACES)];
    slotkv_result_free(result);
    return chance(8) == 0 ? NULL : result;
}

static slotkv_call_options_t options;
static slotkv_range_t range;

static slotkv_operation_t some_operation(void) {
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    operation.kind = (uint32_t)chance(chance(10) == 0 ? 12 : 7);
    operation.condition = (uint32_t)chance(5);
    operation.key = some_bytes();
    operation.value = some_bytes();
    operation.version = chance(5);
    operation.delta = (int64_t)chance(UINT64_MAX);
    operation.range = chance(2) == 0 ? NULL : &range;
    operation.cursor = chance(2) == 0 ? slotkv_bytes(NULL, 0) : some_bytes();
    operation.options = chance(2) == 0 ? NULL : &options;
    operation.size = chance(50) == 0 ? chance(9) : operation.size;
    return operation;
}

static void submit(void) {
    slotkv_operation_t operations[BATCH_MAX];
    slotkv_pending_t begun_as[BATCH_MAX];
    size_t count = chance(BATCH_MAX), begun = 99;
    for (size_t at = 0; at < count; at++) {
        operations[at] = some_operation();
    }
    slotkv_queue_submit(one_of(queues), operations, count, begun_as, &begun, place());
    CHECK(begun <= count);
    for (size_t at = 0; at < begun; at++) {
        pending[chance(PLACES)] = begun_as[at];
    }
}

static void take(void) {
    slotkv_completion_t completions[BATCH_MAX];
    size_t count = 0;
    slotkv_queue_take(one_of(queues), (int64_t)chance(3), completions, chance(BATCH_MAX), &count, place());
    for (size_t at = 0; at < count; at++) {
        slotkv_result_free(&completions[at].result);
    }
}

static void cancel(void) {
    slotkv_completion_t completion;
    if (slotkv_queue_cancel(one_of(queues), pending[chance(PLACES)], &completion, place()) == SLOTKV_CODE_OK) {
        CHECK(completion.result.code == SLOTKV_CODE_CANCELLED);
        slotkv_result_free(&completion.result);
    }
}

/* What a queue still has comes out of it. */
static void drain(slotkv_queue_t queue) {
    slotkv_queue_counters_t counters;
    while (slotkv_queue_counts(queue, &counters, NULL) == SLOTKV_CODE_OK && counters.open > 0) {
        slotkv_completion_t completions[BATCH_MAX];
        size_t count = 0;
        CHECK(slotkv_queue_take(queue, PATIENCE_MS, completions, BATCH_MAX, &count, NULL) == SLOTKV_CODE_OK);
        CHECK(count > 0);
        for (size_t at = 0; at < count; at++) {
            slotkv_result_free(&completions[at].result);
        }
    }
}

static void step(void) {
    slotkv_bytes_t many[BATCH_MAX];
    slotkv_operation_t operation;
    slotkv_item_t item = {0};
    slotkv_result_t copy;
    options.size = sizeof options;
    options.deadline_ms = (uint32_t)chance(2000);
    range.size = sizeof range;
    range.prefix = chance(2) == 0 ? slotkv_bytes("0", 1) : some_bytes();
    range.is_ordered = (uint8_t)chance(2);
    range.page_items = (uint32_t)chance(5);
    switch (chance(25)) {
    case 0:
        if (chance(4) == 0) {
            slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &clients[chance(PLACES)], place());
        }
        break;
    case 1:
        if (chance(8) == 0) {
            slotkv_close(one_of(clients), place());
        }
        break;
    case 2:
        slotkv_scan(one_of(clients), &range, slotkv_bytes(NULL, 0), &options, &scans[chance(PLACES)], place());
        break;
    case 3:
        slotkv_scan_close(one_of(scans), place());
        break;
    case 4:
        slotkv_scan_next(one_of(scans), chance(10), place());
        break;
    case 5:
        slotkv_scan_cursor(one_of(scans), place());
        break;
    case 6:
        if (chance(4) == 0) {
            slotkv_queue_open(one_of(clients), NULL, NULL, &queues[chance(PLACES)], place());
        }
        break;
    case 7:
        if (chance(8) == 0) {
            slotkv_queue_close(one_of(queues), place());
        }
        break;
    case 8:
    case 9:
    case 10:
        submit();
        break;
    case 11:
    case 12:
        take();
        break;
    case 13:
        cancel();
        break;
    case 14:
        operation = some_operation();
        slotkv_call(one_of(clients), &operation, place());
        break;
    case 15:
        slotkv_get(one_of(clients), some_bytes(), &options, place());
        break;
    case 16:
        slotkv_put(one_of(clients), some_bytes(), some_bytes(), NULL, place());
        break;
    case 17:
        for (size_t at = 0; at < BATCH_MAX; at++) {
            many[at] = some_bytes();
        }
        slotkv_get_many(one_of(clients), many, chance(BATCH_MAX), &options, place());
        break;
    case 18:
        slotkv_explain(one_of(clients), some_bytes(), place());
        break;
    case 19:
        slotkv_stats(one_of(clients), place());
        break;
    case 20:
        copy = results[chance(PLACES)];
        copy.memory ^= chance(4) == 0 ? chance(UINT64_MAX) : 0;
        CHECK(copy.memory == 0 || slotkv_result_free(&copy) != SLOTKV_CODE_UNEXPECTED);
        break;
    case 21:
        slotkv_increment(one_of(clients), some_bytes(), (int64_t)chance(9), NULL, place());
        break;
    case 22:
        slotkv_delete(one_of(clients), some_bytes(), &options, place());
        break;
    case 23:
        item.key = some_bytes();
        item.slot = (uint16_t)chance(UINT16_MAX);
        slotkv_queue_cursor(one_of(queues), chance(4) == 0 ? NULL : &range, chance(8) == 0 ? NULL : &item, &options, place());
        break;
    default:
        slotkv_queue_stats(one_of(queues), place());
    }
}

static void sequence(uint64_t seed, long steps) {
    state = seed;
    for (size_t at = 0; at < PLACES; at++) {
        CHECK(slotkv_result_free(&results[at]) == SLOTKV_CODE_OK);
    }
    slotkv_connect_options_t patient = slotkv_connect_options();
    patient.connect_timeout_ms = PATIENCE_MS;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, &patient, &clients[0], &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(clients[0], NULL, NULL, &queues[0], &result));
    for (long number = 0; number < steps; number++) {
        step();
    }
    for (size_t at = 0; at < PLACES; at++) {
        drain(queues[at]);
        slotkv_scan_close(scans[at], NULL);
        slotkv_queue_close(queues[at], NULL);
        slotkv_close(clients[at], NULL);
        slotkv_result_free(&results[at]);
    }
}

int main(int count, char **arguments) {
    if (count != 4 && count != 5) {
        fprintf(stderr, "usage: sequences URI SEED STEPS [SECONDS]\n");
        return 2;
    }
    uri = arguments[1];
    uint64_t seed = strtoull(arguments[2], NULL, 10);
    time_t end = time(NULL) + (count == 5 ? atol(arguments[4]) : 0);
    int passed = 0;
    do {
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        sequence(seed++, atol(arguments[3]));
        passed++;
    } while (time(NULL) < end);
    printf("%d passed\n", passed);
    return 0;
}
