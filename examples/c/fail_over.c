/* cc examples/c/fail_over.c $(pkg-config --cflags --libs slotkv) -o fail_over && ./fail_over [URI]
 *
 * What a caller meets while a worker is down. The example adds to counters on every shard and asks you to crash a worker
 * (kill -9) and to start it again on its data. Calls wait and are repeated by the client, each addition happens exactly
 * once, and in the end the counters agree with what was acknowledged. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <time.h>

/* Spread over the slots, so that every shard has some. */
#define COUNTERS 64
/* Rounds of additions after the interruption was seen. */
#define ROUNDS_AFTER 20
/* Longest time that one addition may take, and so that the worker may be away. */
#define PATIENCE_MS 60000

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A counter as it stands. */
static int64_t read_number(slotkv_client_t client, slotkv_bytes_t key) {
    slotkv_result_t result;
    char text[24];
    must(slotkv_get(client, key, NULL, &result), &result);
    snprintf(text, sizeof text, "%.*s", (int)result.value.size,
             result.value.size > 0 ? (const char *)result.value.data : "");
    slotkv_result_free(&result);
    return atoll(text);
}

/* Adds 1; the sum as it is known to be. */
static int64_t add(slotkv_client_t client, slotkv_bytes_t key, int64_t acknowledged) {
    slotkv_result_t result;
    slotkv_code_t code = slotkv_increment(client, key, 1, NULL, &result);
    if (code == SLOTKV_CODE_OK) {
        /* An addition is neither lost nor done twice. */
        EXPECT(result.number == acknowledged + 1);
        return result.number;
    }
    if (result.error->outcome != SLOTKV_OUTCOME_UNKNOWN) {
        must(code, &result);
    }
    slotkv_result_free(&result);
    /* The one case in which a caller has to look: the addition may have been applied or not. */
    return read_number(client, key);
}

int main(int count, char **arguments) {
    slotkv_client_t client = connected(uri_of(count, arguments), "example-fail-over", PATIENCE_MS);
    char keys[COUNTERS][24];
    slotkv_bytes_t names[COUNTERS];
    int64_t acknowledged[COUNTERS] = {0}, longest = 0, additions = 0;
    slotkv_result_t result;
    for (int number = 0; number < COUNTERS; number++) {
        snprintf(keys[number], sizeof keys[number], "counter/%d", number);
        names[number] = slotkv_text(keys[number]);
    }
    must(slotkv_delete_many(client, names, COUNTERS, NULL, &result), &result);
    slotkv_result_free(&result);

    int is_asked = 0, rounds_left = ROUNDS_AFTER;
    while (rounds_left > 0) {
        for (int number = 0; number < COUNTERS; number++) {
            int64_t start = now_ms();
            acknowledged[number] = add(client, names[number], acknowledged[number]);
            longest = now_ms() - start > longest ? now_ms() - start : longest;
        }
        if (!is_asked) {
            puts("crash a worker now (kill -9) and start it again");
            fflush(stdout);
            is_asked = 1;
        }
        must(slotkv_stats(client, &result), &result);
        rounds_left -= result.stats->connections_lost > 0;
        slotkv_result_free(&result);
    }

    for (int number = 0; number < COUNTERS; number++) {
        EXPECT(read_number(client, names[number]) == acknowledged[number]);
        additions += acknowledged[number];
    }
    must(slotkv_stats(client, &result), &result);
    printf("ok: %lld additions, each exactly once; longest %lld ms, %llu sent again, %llu connections lost\n",
           (long long)additions, (long long)longest, (unsigned long long)result.stats->retries,
           (unsigned long long)result.stats->connections_lost);
    slotkv_result_free(&result);
    must(slotkv_delete_many(client, names, COUNTERS, NULL, &result), &result);
    slotkv_result_free(&result);
    must(slotkv_close(client, &result), &result);
    return 0;
}
