/* The cluster dies while much is being written to it: crash URI PID. The program does not: it leaves SIGPIPE as a C program
 * finds it. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <signal.h>
#include <sys/types.h>

#define CALLS 400
#define VALUE_BYTES 65536
#define TAKEN_MAX 64
/* Longest time for one call, and how much longer its end may take to come. */
#define DEADLINE_MS 1000
#define PATIENCE_MS 20000

static uint64_t frames_sent(slotkv_queue_t queue) {
    slotkv_result_t result;
    CHECK(slotkv_queue_stats(queue, &result) == SLOTKV_CODE_OK);
    uint64_t sent = result.stats->frames_sent;
    slotkv_result_free(&result);
    return sent;
}

int main(int count, char **arguments) {
    static slotkv_operation_t operations[CALLS];
    static char value[VALUE_BYTES];
    if (count != 3) {
        fprintf(stderr, "usage: crash URI PID\n");
        return 2;
    }
    slotkv_client_t client = 0;
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, arguments[1], NULL, &client, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    slotkv_bytes_t key = slotkv_text("c/crash");
    slotkv_call_options_t options = slotkv_call_options();
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_put(client, key, slotkv_text("before"), NULL, &result));
    options.deadline_ms = DEADLINE_MS;
    for (int number = 0; number < CALLS; number++) {
        operations[number] = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
        operations[number].key = key;
        operations[number].value = slotkv_bytes(value, sizeof value);
        operations[number].options = &options;
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, operations, CALLS, NULL, NULL, &result));
    /* While they are written: more than one write takes. */
    while (frames_sent(queue) == 0) {
    }
    CHECK(kill((pid_t)atol(arguments[2]), SIGKILL) == 0);
    for (size_t ended = 0; ended < CALLS;) {
        slotkv_completion_t completions[TAKEN_MAX];
        size_t taken = 0;
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, completions, TAKEN_MAX, &taken, &result));
        CHECK(taken > 0);
        for (size_t at = 0; at < taken; at++) {
            const slotkv_result_t *result = &completions[at].result;
            CHECK(result->code == SLOTKV_CODE_OK || result->error->code != SLOTKV_CODE_UNEXPECTED);
            slotkv_result_free(&completions[at].result);
        }
        ended += taken;
    }
    slotkv_result_t result;
    CHECK(slotkv_get(client, key, &options, &result) != SLOTKV_CODE_OK && result.error != NULL);
    slotkv_result_free(&result);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(client, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
    printf("1 passed\n");
    return 0;
}
