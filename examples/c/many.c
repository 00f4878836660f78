/* cc examples/c/many.c $(pkg-config --cflags --libs slotkv) -o many && ./many [URI]
 *
 * Thousands of keys at once. The client sends each key to its owner, many in one frame; every key has its own result, in
 * the order of the keys. */

#include "example.h"

#define RECORDS 10000

static char keys[RECORDS][24], values[RECORDS][24], long_key[40000];

int main(int count, char **arguments) {
    slotkv_client_t client = connected(uri_of(count, arguments), "example-many", 0);
    static slotkv_bytes_t names[RECORDS];
    static slotkv_pair_t records[RECORDS];
    slotkv_result_t result;
    for (int number = 0; number < RECORDS; number++) {
        snprintf(keys[number], sizeof keys[number], "user:%d", number);
        snprintf(values[number], sizeof values[number], "value %d", number);
        records[number].key = names[number] = slotkv_text(keys[number]);
        records[number].value = slotkv_text(values[number]);
    }
    must(slotkv_delete_many(client, names, RECORDS, NULL, &result), &result);
    slotkv_result_free(&result);

    must(slotkv_put_many(client, records, RECORDS, NULL, &result), &result);
    for (int number = 0; number < RECORDS; number++) {
        EXPECT(result.results[number].status == SLOTKV_STATUS_CREATED);
    }
    slotkv_result_free(&result);
    must(slotkv_get_many(client, names, RECORDS, NULL, &result), &result);
    for (int number = 0; number < RECORDS; number++) {
        EXPECT(is_text(result.results[number].value, values[number]));
    }
    slotkv_result_free(&result);

    /* One key past its limit spoils nothing for the others. */
    memset(long_key, 'x', sizeof long_key);
    slotkv_pair_t three[3] = {
        {slotkv_text("short"), slotkv_text("a")},
        {slotkv_bytes(long_key, sizeof long_key), slotkv_text("b")},
        {slotkv_text("also short"), slotkv_text("c")},
    };
    EXPECT(slotkv_put_many(client, three, 3, NULL, &result) == SLOTKV_CODE_TOO_LARGE);
    EXPECT(result.results[0].code == SLOTKV_CODE_OK && result.results[2].code == SLOTKV_CODE_OK);
    const slotkv_error_t *error = result.results[1].error;
    EXPECT(error->code == SLOTKV_CODE_TOO_LARGE && error->outcome == SLOTKV_OUTCOME_FAILED);
    printf("refused: %s\n", error->message);
    slotkv_result_free(&result);

    must(slotkv_delete_many(client, names, RECORDS, NULL, &result), &result);
    slotkv_result_free(&result);
    slotkv_bytes_t others[2] = {three[0].key, three[2].key};
    must(slotkv_delete_many(client, others, 2, NULL, &result), &result);
    slotkv_result_free(&result);

    must(slotkv_close(client, &result), &result);
    printf("many: %d keys written, read and deleted\n", RECORDS);
    return 0;
}
