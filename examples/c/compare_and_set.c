/* cc examples/c/compare_and_set.c $(pkg-config --cflags --libs slotkv) -pthread -o compare_and_set && ./compare_and_set [URI]
 *
 * Changing a value that others change at the same time: read it with its version, write it back only if the version still
 * stands. An unmet condition is a result, not an error. */

#include "example.h"

#include <pthread.h>

#define THREADS 8
#define STEPS 50

static slotkv_client_t client;
static int repeated[THREADS];

/* Adds 1 so many times; counts how often somebody else was faster. */
static void *add_often(void *context) {
    int *own_repeated = context;
    slotkv_bytes_t key = slotkv_text("sum");
    for (int step = 0; step < STEPS; step++) {
        for (;;) {
            slotkv_result_t entry, result;
            char sum[24];
            must(slotkv_get(client, key, NULL, &entry), &entry);
            snprintf(sum, sizeof sum, "%.*s", (int)entry.value.size, (const char *)entry.value.data);
            snprintf(sum, sizeof sum, "%d", atoi(sum) + 1);
            must(slotkv_compare_and_set(client, key, slotkv_text(sum), entry.version, NULL, &result), &result);
            slotkv_result_free(&entry);
            if (result.status != SLOTKV_STATUS_UNMET) {
                break;
            }
            ++*own_repeated;
        }
    }
    return NULL;
}

int main(int count, char **arguments) {
    /* One client serves any number of threads. */
    client = connected(uri_of(count, arguments), "example-cas", 0);
    slotkv_result_t result;
    must(slotkv_put(client, slotkv_text("sum"), slotkv_text("0"), NULL, &result), &result);
    pthread_t threads[THREADS];
    int repetitions = 0;
    for (int number = 0; number < THREADS; number++) {
        EXPECT(pthread_create(&threads[number], NULL, add_often, &repeated[number]) == 0);
    }
    for (int number = 0; number < THREADS; number++) {
        pthread_join(threads[number], NULL);
        repetitions += repeated[number];
    }
    must(slotkv_get(client, slotkv_text("sum"), NULL, &result), &result);
    EXPECT(is_text(result.value, "400"));
    slotkv_result_free(&result);
    must(slotkv_delete(client, slotkv_text("sum"), NULL, &result), &result);

    /* For a plain counter there is a shorter way. */
    must(slotkv_increment(client, slotkv_text("counter"), 41, NULL, &result), &result);
    EXPECT(result.number == 41);
    must(slotkv_increment(client, slotkv_text("counter"), 1, NULL, &result), &result);
    EXPECT(result.number == 42);
    must(slotkv_delete(client, slotkv_text("counter"), NULL, &result), &result);

    must(slotkv_close(client, &result), &result);
    printf("compare_and_set: %d additions, %d repeated\n", THREADS * STEPS, repetitions);
    return 0;
}
