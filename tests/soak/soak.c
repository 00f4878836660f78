/* The C client of the soak, through a queue: soak URI. README.md here says what a round is. */

#include <slotkv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longest time that a worker may be away. */
#define PATIENCE_MS 100000
/* Keys of each call on many. */
#define KEYS 8
#define VALUE_BYTES_MAX 5000
#define LONG_KEY_BYTES 40000

static slotkv_client_t client;
static slotkv_queue_t queue;
static unsigned long long number;

static void expect(int is_so, const char *what) {
    if (!is_so) {
        fprintf(stderr, "round %llu: not so: %s\n", number, what);
        exit(1);
    }
}

#define EXPECT(condition) expect((condition), #condition)

static int is_bytes(slotkv_bytes_t bytes, const void *data, size_t size) {
    return bytes.size == size && memcmp(bytes.data, data, size) == 0;
}

/* Begins an operation and waits for its end. */
static slotkv_result_t ended(const slotkv_operation_t *operation) {
    slotkv_completion_t completion;
    size_t count = 0;
    EXPECT(slotkv_queue_submit(queue, operation, 1, NULL, NULL, NULL) == SLOTKV_CODE_OK);
    while (count == 0) {
        EXPECT(slotkv_queue_take(queue, -1, &completion, 1, &count, NULL) == SLOTKV_CODE_OK);
    }
    return completion.result;
}

/* The same for one that has to succeed. */
static slotkv_result_t done(const slotkv_operation_t *operation) {
    slotkv_result_t result = ended(operation);
    if (result.code != SLOTKV_CODE_OK) {
        fprintf(stderr, "round %llu: %s: %s\n", number, slotkv_code_name((int)result.code), result.error->message);
        exit(1);
    }
    return result;
}

static slotkv_operation_t on(slotkv_operation_kind_t kind, const char *key) {
    slotkv_operation_t operation = slotkv_operation(kind);
    operation.key = slotkv_text(key);
    return operation;
}

static void values(void) {
    static char value[VALUE_BYTES_MAX];
    char text[24];
    size_t size = 1 + number * 97 % VALUE_BYTES_MAX;
    memset(value, (int)(number % 256), size);
    slotkv_operation_t put = on(SLOTKV_OPERATION_KIND_PUT, "value");
    slotkv_operation_t get = on(SLOTKV_OPERATION_KIND_GET, "value");
    slotkv_operation_t add = on(SLOTKV_OPERATION_KIND_INCREMENT, "counter");
    slotkv_operation_t delete = on(SLOTKV_OPERATION_KIND_DELETE, "value");
    slotkv_operation_t has = on(SLOTKV_OPERATION_KIND_HAS, "value");
    put.value = slotkv_bytes(value, size);
    add.delta = 1;

    slotkv_result_t result = done(&put);
    uint64_t version = result.version;
    slotkv_result_free(&result);
    result = done(&get);
    EXPECT(is_bytes(result.value, value, size));
    slotkv_result_free(&result);
    snprintf(text, sizeof text, "%llu", number);
    put.value = slotkv_text(text);
    put.condition = SLOTKV_CONDITION_VERSION;
    put.version = version;
    result = done(&put);
    EXPECT(result.status == SLOTKV_STATUS_UPDATED && result.version > version);
    slotkv_result_free(&result);
    result = done(&add);
    /* Each addition once. */
    EXPECT(result.number == (long long)number);
    slotkv_result_free(&result);
    result = done(&delete);
    EXPECT(result.status == SLOTKV_STATUS_DELETED);
    slotkv_result_free(&result);
    result = done(&has);
    EXPECT(result.number == 0);
    slotkv_result_free(&result);
}

static void many(void) {
    char keys[KEYS][24], text[24];
    slotkv_operation_t puts[KEYS], gets[KEYS];
    snprintf(text, sizeof text, "%llu", number);
    for (int at = 0; at < KEYS; at++) {
        snprintf(keys[at], sizeof keys[at], "key%d", at);
        puts[at] = on(SLOTKV_OPERATION_KIND_PUT, keys[at]);
        puts[at].value = slotkv_text(text);
        gets[at] = on(SLOTKV_OPERATION_KIND_GET, keys[at]);
    }
    slotkv_operation_t all = slotkv_operation(SLOTKV_OPERATION_KIND_MANY);
    all.operations = puts;
    all.operations_count = KEYS;
    slotkv_result_t result = done(&all);
    slotkv_result_free(&result);
    all.operations = gets;
    result = done(&all);
    EXPECT(result.results_count == KEYS);
    for (int at = 0; at < KEYS; at++) {
        EXPECT(is_bytes(result.results[at].value, text, strlen(text)));
    }
    slotkv_result_free(&result);
}

/* Scans that go on, and calls that do not succeed. */
static void seldom(void) {
    static char long_key[LONG_KEY_BYTES];
    slotkv_range_t range = slotkv_range();
    slotkv_operation_t count = slotkv_operation(SLOTKV_OPERATION_KIND_COUNT);
    slotkv_result_t result;
    slotkv_scan_t scan = 0;
    size_t left = 0, found = 0;
    range.prefix = slotkv_text("key");
    range.is_ordered = 1;
    count.range = &range;

    EXPECT(slotkv_scan(client, &range, slotkv_bytes(NULL, 0), NULL, &scan, NULL) == SLOTKV_CODE_OK);
    while (found < 3) {
        EXPECT(slotkv_scan_next(scan, 3 - found, &result) == SLOTKV_CODE_OK && result.items_count > 0);
        found += result.items_count;
        slotkv_result_free(&result);
    }
    EXPECT(slotkv_scan_cursor(scan, &result) == SLOTKV_CODE_OK);
    EXPECT(slotkv_scan_close(scan, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_scan(client, &range, result.cursor, NULL, &scan, NULL) == SLOTKV_CODE_OK);
    slotkv_result_free(&result);
    do {
        EXPECT(slotkv_scan_next(scan, 100, &result) == SLOTKV_CODE_OK);
        found = result.items_count;
        left += found;
        slotkv_result_free(&result);
    } while (found > 0);
    EXPECT(slotkv_scan_close(scan, NULL) == SLOTKV_CODE_OK);
    EXPECT(left == KEYS - 3);
    result = done(&count);
    EXPECT(result.number == KEYS);
    slotkv_result_free(&result);

    memset(long_key, 'k', sizeof long_key);
    slotkv_operation_t put = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
    put.key = slotkv_bytes(long_key, sizeof long_key);
    result = ended(&put);
    EXPECT(result.code == SLOTKV_CODE_TOO_LARGE);
    slotkv_result_free(&result);

    slotkv_call_options_t options = slotkv_call_options();
    slotkv_operation_t get = on(SLOTKV_OPERATION_KIND_GET, "counter");
    options.deadline_ms = 1;
    get.options = &options;
    result = ended(&get);
    /* Whether it succeeds is chance. */
    slotkv_result_free(&result);

    slotkv_pending_t pending = 0;
    slotkv_completion_t completion;
    size_t taken = 0;
    get.options = NULL;
    EXPECT(slotkv_queue_submit(queue, &get, 1, &pending, NULL, NULL) == SLOTKV_CODE_OK);
    if (slotkv_queue_cancel(queue, pending, &completion, NULL) != SLOTKV_CODE_OK) {
        while (taken == 0) {
            EXPECT(slotkv_queue_take(queue, -1, &completion, 1, &taken, NULL) == SLOTKV_CODE_OK);
        }
    }
    slotkv_result_free(&completion.result);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: soak URI\n");
        return 2;
    }
    slotkv_connect_options_t options = slotkv_connect_options();
    options.namespace_name = "soak-c";
    options.deadline_ms = PATIENCE_MS;
    EXPECT(slotkv_connect(SLOTKV_ABI_VERSION, arguments[1], &options, &client, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_queue_open(client, NULL, NULL, &queue, NULL) == SLOTKV_CODE_OK);
    for (int byte; (byte = getchar()) != EOF;) {
        if (byte != '\n') {
            continue;
        }
        number++;
        values();
        many();
        if (number % 4 == 0) {
            seldom();
        }
        puts("done");
        fflush(stdout);
    }
    EXPECT(slotkv_queue_close(queue, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_close(client, NULL) == SLOTKV_CODE_OK);
    return 0;
}
