/* What callers do that nobody meant: hostile URI. Each ends with a code, in bounded time. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#define IN_FLIGHT 10000
#define TAKEN_MAX 64
/* Time for one of many calls, on a machine that does other things. */
#define DEADLINE_MS 120000
/* Longest time that something may take that must happen. */
#define PATIENCE_MS 60000
/* Longest time that closing may take: twice what it gives open calls, and what a loaded machine adds. */
#define CLOSE_MS 15000

static const char *uri;
static slotkv_client_t client;

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static slotkv_operation_t get_of(const char *key) {
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    operation.key = slotkv_text(key);
    return operation;
}

struct Called {
    slotkv_client_t client;
    slotkv_queue_t queue;
    sem_t begun;
    sem_t may_end;
    atomic_int ended;
    atomic_int wrong;
};

static void await(sem_t *semaphore) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_MS / 1000;
    CHECK(sem_timedwait(semaphore, &end) == 0);
}

static void free_all(struct Called *called, slotkv_completion_t *completions, size_t count) {
    for (size_t at = 0; at < count; at++) {
        slotkv_result_free(&completions[at].result);
    }
    atomic_fetch_add(&called->ended, (int)count);
}

#define REFUSED(called, call) atomic_fetch_add(&(called)->wrong, (call) != SLOTKV_CODE_INVALID_ARGUMENT)

static void call_everything(void *context, slotkv_completion_t *completions, size_t count) {
    struct Called *called = context;
    free_all(called, completions, count);
    slotkv_bytes_t key = slotkv_text("c/hostile");
    slotkv_operation_t operation = get_of("c/hostile");
    slotkv_completion_t completion;
    uint64_t other = 0;
    size_t taken;
    REFUSED(called, slotkv_close(called->client, NULL));
    REFUSED(called, slotkv_queue_close(called->queue, NULL));
    REFUSED(called, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &other, NULL));
    REFUSED(called, slotkv_queue_open(called->client, call_everything, called, &other, NULL));
    REFUSED(called, slotkv_queue_take(called->queue, -1, &completion, 1, &taken, NULL));
    REFUSED(called, slotkv_call(called->client, &operation, NULL));
    REFUSED(called, slotkv_get(called->client, key, NULL, NULL));
    REFUSED(called, slotkv_put_many(called->client, NULL, 0, NULL, NULL));
    REFUSED(called, slotkv_status(called->client, NULL, NULL));
    REFUSED(called, slotkv_log(SLOTKV_LEVEL_OFF, NULL, NULL, NULL));
    atomic_fetch_add(&called->wrong, other != 0);
    sem_post(&called->begun);
}

static void a_callback_may_call_anything(void) {
    struct Called called = {.client = client};
    sem_init(&called.begun, 0, 0);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, call_everything, &called, &called.queue, &result));
    slotkv_operation_t operation = get_of("c/hostile");
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(called.queue, &operation, 1, NULL, NULL, &result));
    await(&called.begun);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(called.queue, &result));
    CHECK(called.wrong == 0 && called.ended == 1);
}

static void block(void *context, slotkv_completion_t *completions, size_t count) {
    struct Called *called = context;
    free_all(called, completions, count);
    sem_post(&called->begun);
    while (sem_wait(&called->may_end) != 0) {
    }
    sem_post(&called->begun);
}

static void a_callback_that_blocks_holds_up_queues_and_nothing_else(void) {
    /* Not on the stack: it is used after the queue was closed. */
    static struct Called called;
    slotkv_client_t other = 0;
    sem_init(&called.begun, 0, 0);
    sem_init(&called.may_end, 0, 0);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &other, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(other, block, &called, &called.queue, &result));
    slotkv_operation_t operation = get_of("c/hostile");
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(called.queue, &operation, 1, NULL, NULL, &result));
    await(&called.begun);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_get(other, operation.key, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(called.queue, &operation, 1, NULL, NULL, &result));
    int64_t start = now_ms();
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(other, &result));
    /* It says that the callback has not returned. */
    CHECK_CODE(SLOTKV_CODE_TIMEOUT, slotkv_queue_close(called.queue, &result));
    CHECK(now_ms() - start < CLOSE_MS);
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_close(called.queue, &result));
    sem_post(&called.may_end);
    await(&called.begun);

    /* And queues go on. */
    slotkv_queue_t queue = 0;
    slotkv_completion_t completion;
    size_t count = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, &completion, 1, &count, &result));
    CHECK(count == 1 && completion.result.code == SLOTKV_CODE_OK);
    slotkv_result_free(&completion.result);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
    CHECK(called.ended == 1);
}

static int call_from_within(void *context) {
    struct Called *called = context;
    slotkv_call_options_t options = slotkv_call_options();
    options.deadline_ms = 10;
    /* Other calls may be made, of this client and of others, and this one may be closed. */
    atomic_fetch_add(&called->wrong, slotkv_get(client, slotkv_text("c/hostile"), NULL, NULL) != SLOTKV_CODE_OK);
    slotkv_get(called->client, slotkv_text("c/hostile"), &options, NULL);
    if (atomic_fetch_add(&called->ended, 1) == 2) {
        atomic_fetch_add(&called->wrong, slotkv_close(called->client, NULL) != SLOTKV_CODE_OK);
    }
    return 0;
}

static void an_interrupt_may_call_and_close_the_client_that_asks(void) {
    struct Called called = {0};
    slotkv_connect_options_t lazy = slotkv_connect_options();
    lazy.is_lazy = 1;
    lazy.connect_timeout_ms = 60000;
    CHECK_CODE(SLOTKV_CODE_OK,
               slotkv_connect(SLOTKV_ABI_VERSION, "slotkv://127.0.0.1:1", &lazy, &called.client, &result));
    slotkv_call_options_t options = slotkv_call_options();
    options.deadline_ms = PATIENCE_MS;
    options.interrupt = call_from_within;
    options.interrupt_context = &called;
    int64_t start = now_ms();
    slotkv_result_t result;
    slotkv_code_t code = slotkv_get(called.client, slotkv_text("c/hostile"), &options, &result);
    CHECK(code == SLOTKV_CODE_CLOSED && now_ms() - start < PATIENCE_MS);
    slotkv_result_free(&result);
    CHECK(called.wrong == 0 && called.ended >= 3);
}

static void count_ends(void *context, slotkv_completion_t *completions, size_t count) {
    struct Called *called = context;
    for (size_t at = 0; at < count; at++) {
        slotkv_code_t code = completions[at].result.code;
        atomic_fetch_add(&called->wrong, code != SLOTKV_CODE_OK && code != SLOTKV_CODE_CLOSED);
    }
    free_all(called, completions, count);
}

static void submit_many(slotkv_queue_t queue) {
    slotkv_operation_t *operations = calloc(IN_FLIGHT, sizeof *operations);
    slotkv_call_options_t options = slotkv_call_options();
    CHECK(operations != NULL);
    options.deadline_ms = DEADLINE_MS;
    for (int number = 0; number < IN_FLIGHT; number++) {
        operations[number] = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
        operations[number].key = operations[number].value = slotkv_text("c/hostile");
        operations[number].options = &options;
    }
    size_t begun = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, operations, IN_FLIGHT, NULL, &begun, &result));
    CHECK(begun == IN_FLIGHT);
    free(operations);
}

static void a_queue_is_closed_with_many_calls_in_flight(void) {
    struct Called called = {0};
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, count_ends, &called, &called.queue, &result));
    submit_many(called.queue);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(called.queue, &result));
    CHECK(called.ended == IN_FLIGHT && called.wrong == 0);

    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    submit_many(queue);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void a_client_is_closed_with_many_calls_in_flight(void) {
    slotkv_client_t other = 0;
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &other, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(other, NULL, NULL, &queue, &result));
    submit_many(queue);
    int64_t start = now_ms();
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(other, &result));
    CHECK(now_ms() - start < CLOSE_MS);
    for (size_t ended = 0; ended < IN_FLIGHT;) {
        slotkv_completion_t completions[TAKEN_MAX];
        size_t count = 0;
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, completions, TAKEN_MAX, &count, &result));
        CHECK(count > 0);
        for (size_t at = 0; at < count; at++) {
            slotkv_code_t code = completions[at].result.code;
            CHECK(code == SLOTKV_CODE_OK || code == SLOTKV_CODE_CLOSED);
            slotkv_result_free(&completions[at].result);
        }
        ended += count;
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void two_queues_are_watched_by_one_loop(void) {
    slotkv_queue_t queues[2] = {0, 0};
    struct pollfd entries[2];
    size_t ended[2] = {0, 0};
    for (int at = 0; at < 2; at++) {
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queues[at], &result));
        entries[at] = (struct pollfd){.fd = slotkv_queue_fd(queues[at]), .events = POLLIN, .revents = 0};
    }
    CHECK(entries[0].fd >= 0 && entries[0].fd != entries[1].fd);
    submit_many(queues[0]);
    submit_many(queues[1]);
    while (ended[0] < IN_FLIGHT || ended[1] < IN_FLIGHT) {
        CHECK(poll(entries, 2, PATIENCE_MS) > 0);
        for (int at = 0; at < 2; at++) {
            slotkv_completion_t completions[TAKEN_MAX];
            size_t count = 0;
            if (entries[at].revents == 0) {
                continue;
            }
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queues[at], 0, completions, TAKEN_MAX, &count, &result));
            for (size_t number = 0; number < count; number++) {
                CHECK(completions[number].result.code == SLOTKV_CODE_OK);
                slotkv_result_free(&completions[number].result);
            }
            ended[at] += count;
        }
    }
    for (int at = 0; at < 2; at++) {
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queues[at], &result));
    }
}

struct FutureOperation {
    slotkv_operation_t known;
    uint64_t more[2];
};

struct FutureOptions {
    slotkv_call_options_t known;
    uint64_t more;
};

static void a_program_of_a_newer_header_is_understood_or_refused(void) {
    slotkv_queue_t queue = 0;
    struct FutureOptions options = {.known = slotkv_call_options(), .more = 0};
    struct FutureOperation operations[2];
    options.known.size = sizeof options;
    for (int at = 0; at < 2; at++) {
        operations[at] = (struct FutureOperation){.known = get_of("c/hostile"), .more = {0, 0}};
        operations[at].known.size = sizeof operations[at];
        operations[at].known.options = &options.known;
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    /* What it does not say differently is as before. */
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_call(client, &operations[0].known, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operations[0].known, 2, NULL, NULL, &result));
    for (size_t ended = 0; ended < 2;) {
        slotkv_completion_t completions[2];
        size_t count = 0;
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, completions, 2, &count, &result));
        for (size_t at = 0; at < count; at++, ended++) {
            CHECK(completions[at].result.code == SLOTKV_CODE_OK);
            slotkv_result_free(&completions[at].result);
        }
    }
    /* What it says and this library does not know is refused. */
    operations[1].more[1] = 1;
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED, slotkv_call(client, &operations[1].known, &result));
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED,
               slotkv_queue_submit(queue, &operations[0].known, 2, NULL, NULL, &result));
    options.more = 1;
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED, slotkv_get(client, slotkv_text("k"), &options.known, &result));
    size_t sizes[] = {0, 1, 7, sizeof options + 4096, SIZE_MAX, SIZE_MAX / 2};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        options.known.size = sizes[at];
        operations[0].known.size = operations[1].known.size = sizes[at];
        CHECK(slotkv_get(client, slotkv_text("k"), &options.known, NULL) != SLOTKV_CODE_OK);
        CHECK(slotkv_call(client, &operations[0].known, NULL) != SLOTKV_CODE_OK);
        CHECK(slotkv_queue_submit(queue, &operations[0].known, 2, NULL, NULL, NULL) != SLOTKV_CODE_OK);
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void nothing_may_be_given_everywhere(void) {
    slotkv_bytes_t none = slotkv_bytes(NULL, 0);
    slotkv_bytes_t nowhere = slotkv_bytes(NULL, 1);
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    uint64_t handles[] = {0, client, queue};
    for (size_t at = 0; at < sizeof handles / sizeof handles[0]; at++) {
        uint64_t handle = handles[at];
        slotkv_get(handle, none, NULL, NULL);
        slotkv_has(handle, nowhere, NULL, NULL);
        slotkv_put(handle, none, nowhere, NULL, NULL);
        slotkv_put_if_absent(handle, nowhere, none, NULL, NULL);
        slotkv_update_if_present(handle, none, none, NULL, NULL);
        slotkv_compare_and_set(handle, none, none, 0, NULL, NULL);
        slotkv_delete(handle, none, NULL, NULL);
        slotkv_delete_if_version(handle, none, 0, NULL, NULL);
        slotkv_increment(handle, none, 0, NULL, NULL);
        slotkv_get_many(handle, NULL, 1, NULL, NULL);
        slotkv_put_many(handle, NULL, 1, NULL, NULL);
        slotkv_delete_many(handle, NULL, SIZE_MAX, NULL, NULL);
        slotkv_count(handle, NULL, NULL, NULL);
        slotkv_dump(handle, NULL, NULL, NULL);
        slotkv_status(handle, NULL, NULL);
        slotkv_slot(handle, none, NULL);
        slotkv_explain(handle, nowhere, NULL);
        slotkv_stats(handle, NULL);
        slotkv_call(handle, NULL, NULL);
        slotkv_scan(handle, NULL, none, NULL, NULL, NULL);
        slotkv_scan_next(handle, 1, NULL);
        slotkv_scan_cursor(handle, NULL);
        slotkv_scan_close(handle, NULL);
        slotkv_queue_open(handle, NULL, NULL, NULL, NULL);
        slotkv_queue_fd(handle);
        slotkv_queue_submit(handle, NULL, 1, NULL, NULL, NULL);
        slotkv_queue_take(handle, 0, NULL, 0, NULL, NULL);
        slotkv_queue_cancel(handle, 0, NULL, NULL);
        slotkv_queue_counts(handle, NULL, NULL);
        slotkv_queue_stats(handle, NULL);
        slotkv_queue_cursor(handle, NULL, NULL, NULL, NULL);
    }
    slotkv_connect(SLOTKV_ABI_VERSION, NULL, NULL, NULL, NULL);
    slotkv_connect(0xffffffff, NULL, NULL, NULL, NULL);
    slotkv_log(SLOTKV_LEVEL_OFF, NULL, NULL, NULL);
    slotkv_log(SLOTKV_LEVEL_TRACE, NULL, NULL, NULL);
    slotkv_close(0, NULL);
    slotkv_queue_close(0, NULL);
    CHECK(slotkv_result_free(NULL) == SLOTKV_CODE_OK);
    CHECK(strcmp(slotkv_code_name(INT32_MIN), "UNEXPECTED") == 0 && slotkv_retry_name(INT32_MAX) == NULL);
    /* It all left the client as it was. */
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_put(client, slotkv_text("c/hostile"), none, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void *close_it(void *context) {
    struct Called *called = context;
    slotkv_code_t code = slotkv_close(called->client, NULL);
    atomic_fetch_add(code == SLOTKV_CODE_OK ? &called->ended : &called->wrong, 1);
    slotkv_queue_close(called->queue, NULL);
    return NULL;
}

static void one_of_many_threads_closes(void) {
    for (int round = 0; round < 10; round++) {
        struct Called called = {0};
        pthread_t threads[8];
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &called.client, &result));
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(called.client, count_ends, &called, &called.queue, &result));
        slotkv_operation_t operation = get_of("c/hostile");
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(called.queue, &operation, 1, NULL, NULL, &result));
        for (int number = 0; number < 8; number++) {
            CHECK(pthread_create(&threads[number], NULL, close_it, &called) == 0);
        }
        for (int number = 0; number < 8; number++) {
            pthread_join(threads[number], NULL);
        }
        CHECK(called.ended == 1 + 1 && called.wrong == 7);
    }
}

static void log_and_call(void *context, const slotkv_record_t *record) {
    struct Called *called = context;
    (void)record;
    if (atomic_fetch_add(&called->ended, 1) == 0) {
        atomic_fetch_add(&called->wrong, slotkv_get(client, slotkv_text("c/hostile"), NULL, NULL) != SLOTKV_CODE_OK);
        /* It would wait for itself, but not for long. */
        atomic_fetch_add(&called->wrong, slotkv_log(SLOTKV_LEVEL_OFF, NULL, NULL, NULL) == SLOTKV_CODE_OK);
        sem_post(&called->begun);
    }
}

static void a_log_callback_may_call_the_client_and_slotkv_log(void) {
    static struct Called called;
    sem_init(&called.begun, 0, 0);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_log(SLOTKV_LEVEL_ERROR, log_and_call, &called, &result));
    CHECK(slotkv_test_panic(NULL) == SLOTKV_CODE_UNEXPECTED);
    await(&called.begun);
    slotkv_log(SLOTKV_LEVEL_OFF, NULL, NULL, NULL);
    CHECK(called.wrong == 0);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: hostile URI\n");
        return 2;
    }
    uri = arguments[1];
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &client, &result));
    void (*const tests[])(void) = {
        a_callback_may_call_anything,
        a_callback_that_blocks_holds_up_queues_and_nothing_else,
        an_interrupt_may_call_and_close_the_client_that_asks,
        a_queue_is_closed_with_many_calls_in_flight,
        a_client_is_closed_with_many_calls_in_flight,
        two_queues_are_watched_by_one_loop,
        a_program_of_a_newer_header_is_understood_or_refused,
        nothing_may_be_given_everywhere,
        one_of_many_threads_closes,
        a_log_callback_may_call_the_client_and_slotkv_log,
    };
    size_t passed = sizeof tests / sizeof tests[0];
    for (size_t at = 0; at < passed; at++) {
        tests[at]();
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(client, &result));
    printf("%zu passed\n", passed);
    return 0;
}
