/* The driver of the C client: conform calls|queue URI. With "calls" its calls wait; with "queue" those that can go
 * through a queue. */

#define _POSIX_C_SOURCE 200809L

#include <slotkv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHOWN_BYTES_MAX 256
#define ARGUMENTS_MAX 4096
#define OPTIONS_MAX 16

/* What a driver is told: the twin of src/step.rs. */

typedef struct {
    char *bytes;
    size_t size;
    long long number;
    int is_bytes;
    /* The name of a wrong type, or NULL. */
    const char *odd;
} argument_t;

typedef struct {
    const char *operation;
    argument_t arguments[ARGUMENTS_MAX];
    size_t arguments_count;
    const char *names[OPTIONS_MAX];
    argument_t options[OPTIONS_MAX];
    size_t options_count;
} step_t;

static void *allocated(size_t size) {
    void *memory = malloc(size + 1);
    if (memory == NULL) {
        fprintf(stderr, "conform: out of memory\n");
        exit(2);
    }
    return memory;
}

static int nibble(char digit) {
    return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

/* Every argument's bytes end with a 0 behind them, so that they can be a text, too. */
static argument_t argument(const char *word) {
    argument_t made = {NULL, 0, 0, 1, NULL};
    if (word[0] == '!') {
        made.odd = word + 1;
        /* NULL, and says that it has a byte. */
        made.size = 1;
    } else if (word[0] == '#') {
        made.is_bytes = 0;
        made.number = (long long)strtoull(word + 1, NULL, 10);
    } else if (word[0] == '*') {
        made.size = strtoull(word + 4, NULL, 10);
        made.bytes = allocated(made.size);
        memset(made.bytes, nibble(word[1]) * 16 + nibble(word[2]), made.size);
        made.bytes[made.size] = 0;
    } else {
        made.size = (strlen(word) - 1) / 2;
        made.bytes = allocated(made.size);
        for (size_t at = 0; at < made.size; at++) {
            made.bytes[at] = (char)(nibble(word[1 + 2 * at]) * 16 + nibble(word[2 + 2 * at]));
        }
        made.bytes[made.size] = 0;
    }
    return made;
}

static void parse(char *line, step_t *step) {
    char *rest = NULL;
    step->operation = strtok_r(line, " ", &rest);
    step->arguments_count = step->options_count = 0;
    for (char *word; (word = strtok_r(NULL, " ", &rest)) != NULL;) {
        char *colon = strchr(word, ':');
        if (colon != NULL && step->options_count < OPTIONS_MAX) {
            *colon = 0;
            step->names[step->options_count] = word;
            step->options[step->options_count++] = argument(colon + 1);
        } else if (step->arguments_count < ARGUMENTS_MAX) {
            step->arguments[step->arguments_count++] = argument(word);
        }
    }
}

static void forget(step_t *step) {
    for (size_t at = 0; at < step->arguments_count; at++) {
        free(step->arguments[at].bytes);
    }
    for (size_t at = 0; at < step->options_count; at++) {
        free(step->options[at].bytes);
    }
}

static const argument_t *option(const step_t *step, const char *name) {
    for (size_t at = 0; at < step->options_count; at++) {
        if (strcmp(step->names[at], name) == 0) {
            return &step->options[at];
        }
    }
    return NULL;
}

static int is_odd(const step_t *step) {
    int found = 0;
    for (size_t at = 0; at < step->arguments_count; at++) {
        found |= step->arguments[at].odd != NULL;
    }
    for (size_t at = 0; at < step->options_count; at++) {
        found |= step->options[at].odd != NULL;
    }
    return found;
}

/* Whether what is of a wrong type can be said in C: no key and no value where there is one, a text that is no UTF-8, and
 * an option of a later release. */
static int is_representable(const step_t *step) {
    static const char *const bytes[] = {"prefix", "start", "end", "cursor"};
    for (size_t at = 0; at < step->arguments_count; at++) {
        const char *odd = step->arguments[at].odd;
        int is_text = strcmp(step->operation, "connect") == 0;
        int is_number = (strcmp(step->operation, "compare_and_set") == 0 && at == 2) ||
                        (strcmp(step->operation, "delete_if_version") == 0 && at == 1) ||
                        (strcmp(step->operation, "increment") == 0 && at == 1);
        int is_none = odd != NULL && strcmp(odd, "none") == 0;
        if (odd != NULL && !(is_none && !is_number) && !(is_text && strcmp(odd, "broken_text") == 0)) {
            return 0;
        }
    }
    for (size_t at = 0; at < step->options_count; at++) {
        const char *odd = step->options[at].odd, *name = step->names[at];
        int is_bytes = 0;
        for (size_t known = 0; known < sizeof bytes / sizeof *bytes; known++) {
            is_bytes |= strcmp(name, bytes[known]) == 0;
        }
        int is_text = strcmp(name, "namespace") == 0 || strcmp(name, "traceparent") == 0;
        if (odd != NULL && !(is_text && strcmp(odd, "broken_text") == 0) &&
            !(is_bytes && strcmp(odd, "none") == 0) && strcmp(name, "unknown") != 0) {
            return 0;
        }
    }
    return 1;
}

/* A text; NULL, or one that is no UTF-8, for what is of a wrong type. */
static const char *text_of(const argument_t *argument) {
    if (argument == NULL || argument->odd == NULL) {
        return argument == NULL ? NULL : argument->bytes;
    }
    return strcmp(argument->odd, "none") == 0 ? NULL : "\xff";
}

static slotkv_bytes_t bytes_option(const step_t *step, const char *name) {
    const argument_t *found = option(step, name);
    return found == NULL ? slotkv_bytes(NULL, 0) : slotkv_bytes(found->bytes, found->size);
}

static long long number_option(const step_t *step, const char *name, long long otherwise) {
    const argument_t *found = option(step, name);
    return found == NULL ? otherwise : found->number;
}

static slotkv_bytes_t bytes_at(const step_t *step, size_t at) {
    return slotkv_bytes(step->arguments[at].bytes, step->arguments[at].size);
}

/* How answers look as text: the twin of src/text.rs. */

static unsigned long crc32_of(const unsigned char *bytes, size_t size) {
    unsigned long crc = 0xffffffffUL;
    for (size_t at = 0; at < size; at++) {
        crc ^= bytes[at];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? 0xedb88320UL ^ (crc >> 1) : crc >> 1;
        }
    }
    return crc ^ 0xffffffffUL;
}

static void print_bytes(slotkv_bytes_t bytes) {
    const unsigned char *data = bytes.data;
    if (bytes.size > SHOWN_BYTES_MAX) {
        printf("~%zu:%08lx", bytes.size, crc32_of(data, bytes.size));
        return;
    }
    putchar('=');
    for (size_t at = 0; at < bytes.size; at++) {
        printf("%02x", data[at]);
    }
}

static void print_error(const slotkv_result_t *result) {
    const slotkv_error_t *error = result->error;
    const char *outcome = error->outcome == SLOTKV_OUTCOME_FAILED ? "failed" : "unknown";
    printf("error %d %s %s %s", (int)error->code, error->kind, outcome, slotkv_retry_name((int)error->retry));
}

static void print_value(const slotkv_result_t *result) {
    if (result->status == SLOTKV_STATUS_NOT_FOUND) {
        printf("none");
    } else {
        printf("value ");
        print_bytes(result->value);
    }
}

/* In hours, so that it is the same for all who ask within some minutes. */
static void print_ttl(uint64_t ttl_ms) {
    if (ttl_ms > 0) {
        printf(" ttl %llu", (unsigned long long)((ttl_ms + 1800000) / 3600000));
    }
}

static void print_entry(const slotkv_result_t *result) {
    if (result->status == SLOTKV_STATUS_NOT_FOUND) {
        printf("none");
    } else {
        printf("entry %llu ", (unsigned long long)result->version);
        print_bytes(result->value);
        print_ttl(result->ttl_ms);
    }
}

static void print_has(const slotkv_result_t *result) {
    printf(result->number == 1 ? "true" : "false");
}

static void print_write(const slotkv_result_t *result) {
    static const char *const words[] = {"none",      "created", "updated",     "unmet",    "deleted",
                                        "not_found", "found",   "not_applied", "forgotten"};
    printf("%s", words[result->status]);
    if (result->status != SLOTKV_STATUS_NOT_FOUND) {
        printf(" %llu", (unsigned long long)result->version);
    }
}

static void print_outcome(const slotkv_result_t *result) {
    static const char *const words[] = {"none",      "created", "updated",     "unmet",    "deleted",
                                        "not_found", "found",   "not_applied", "forgotten"};
    printf("outcome %s %llu %lld", words[result->status], (unsigned long long)result->version,
           (long long)result->number);
}

static void print_number(const slotkv_result_t *result) {
    printf("number %lld", (long long)result->number);
}

static void print_count(const slotkv_result_t *result) {
    printf("count %lld", (long long)result->number);
}

static void print_slot(const slotkv_result_t *result) {
    printf("slot %lld", (long long)result->number);
}

static void print_gone(const slotkv_result_t *result) {
    (void)result;
    printf("gone");
}

static void print_done(const slotkv_result_t *result) {
    (void)result;
    printf("done");
}

static void print_item(const slotkv_item_t *item) {
    printf("%llu ", (unsigned long long)item->version);
    print_bytes(item->key);
    putchar(' ');
    print_bytes(item->value);
    print_ttl(item->ttl_ms);
}

static void print_items(const slotkv_result_t *result) {
    printf("items[");
    for (size_t at = 0; at < result->items_count; at++) {
        if (at > 0) {
            putchar(';');
        }
        print_item(&result->items[at]);
    }
    printf("] end");
}

typedef void (*print_t)(const slotkv_result_t *);

static void print_many(const slotkv_result_t *result, print_t each) {
    printf("many[");
    for (size_t at = 0; at < result->results_count; at++) {
        if (at > 0) {
            putchar(';');
        }
        if (result->results[at].code == SLOTKV_CODE_OK) {
            each(&result->results[at]);
        } else {
            print_error(&result->results[at]);
        }
    }
    putchar(']');
}

/* The driver. */

static const char *uri;
static slotkv_client_t own;
static slotkv_queue_t own_queue;
/* The range of the last scan that did not come to its end, and where it stood. */
static int has_last_scan;
static slotkv_range_t last_range;
static argument_t last_bounds[3];
static slotkv_result_t last_cursor;

static void must(slotkv_code_t code) {
    if (code != SLOTKV_CODE_OK) {
        fprintf(stderr, "conform: %s\n", slotkv_code_name((int)code));
        exit(2);
    }
}

/* The token of the last error that had one. */
static argument_t last_token;

static argument_t copy_of(slotkv_bytes_t bytes);

/* Whether the step that is carried out has something of a wrong type. */
static int is_odd_step;

static void print_and_free(slotkv_result_t *result, print_t print) {
    if (result->code == SLOTKV_CODE_OK) {
        print(result);
    } else if (is_odd_step && (result->code == SLOTKV_CODE_INVALID_ARGUMENT || result->code == SLOTKV_CODE_UNSUPPORTED)) {
        printf("refused");
    } else {
        print_error(result);
        if (result->error->token.size > 0) {
            free(last_token.bytes);
            last_token = copy_of(result->error->token);
        }
    }
    slotkv_result_free(result);
}

/* Carries an operation out, by a call that waits or through the queue. */
static slotkv_result_t carried(slotkv_client_t client, const slotkv_operation_t *operation) {
    slotkv_result_t result;
    if (own_queue == 0 || client != own) {
        slotkv_call(client, operation, &result);
        return result;
    }
    if (slotkv_queue_submit(own_queue, operation, 1, NULL, NULL, &result) != SLOTKV_CODE_OK) {
        return result;
    }
    slotkv_completion_t completion;
    size_t count = 0;
    while (count == 0) {
        must(slotkv_queue_take(own_queue, -1, &completion, 1, &count, NULL));
    }
    return completion.result;
}

/* Begins an operation and cancels it at once; a call that waits has nobody to cancel it. */
static void cancelled(const slotkv_operation_t *operation) {
    if (own_queue == 0) {
        printf("unsupported");
        return;
    }
    slotkv_pending_t pending = 0;
    slotkv_completion_t completion;
    must(slotkv_queue_submit(own_queue, operation, 1, &pending, NULL, NULL));
    must(slotkv_queue_cancel(own_queue, pending, &completion, NULL));
    printf(completion.result.code == SLOTKV_CODE_CANCELLED ? "cancelled" : "ended");
    slotkv_result_free(&completion.result);
}

static void forget_last_scan(void) {
    if (has_last_scan) {
        slotkv_result_free(&last_cursor);
        for (int at = 0; at < 3; at++) {
            free(last_bounds[at].bytes);
        }
        has_last_scan = 0;
    }
}

static argument_t copy_of(slotkv_bytes_t bytes) {
    argument_t copy = {allocated(bytes.size), bytes.size, 0, 1, NULL};
    if (bytes.size > 0) {
        memcpy(copy.bytes, bytes.data, bytes.size);
    }
    return copy;
}

static void scan(slotkv_client_t client, const slotkv_call_options_t *options, const slotkv_range_t *range,
                 slotkv_bytes_t cursor, long long limit) {
    slotkv_scan_t scan = 0;
    slotkv_result_t result;
    if (slotkv_scan(client, range, cursor, options, &scan, &result) != SLOTKV_CODE_OK) {
        print_and_free(&result, print_done);
        return;
    }
    /* Printed when it is known that there is no error. */
    slotkv_result_t *pages = NULL;
    size_t pages_count = 0;
    long long found = 0;
    int is_complete = 0;
    while (found < limit && !is_complete) {
        slotkv_scan_next(scan, limit - found > 1000000 ? 1000000 : (size_t)(limit - found), &result);
        if (result.code != SLOTKV_CODE_OK) {
            print_and_free(&result, print_done);
            goto end;
        }
        is_complete = result.items_count == 0;
        found += (long long)result.items_count;
        pages = realloc(pages, (pages_count + 1) * sizeof *pages);
        if (pages == NULL) {
            exit(2);
        }
        pages[pages_count++] = result;
    }
    int is_first = 1;
    printf("items[");
    for (size_t page = 0; page < pages_count; page++) {
        for (size_t at = 0; at < pages[page].items_count; at++) {
            if (!is_first) {
                putchar(';');
            }
            is_first = 0;
            print_item(&pages[page].items[at]);
        }
    }
    printf("] %s", is_complete ? "end" : "cursor");
    if (is_complete) {
        forget_last_scan();
    } else {
        argument_t bounds[3] = {copy_of(range->prefix), copy_of(range->start), copy_of(range->end)};
        slotkv_range_t kept = *range;
        must(slotkv_scan_cursor(scan, &result));
        forget_last_scan();
        memcpy(last_bounds, bounds, sizeof bounds);
        last_range = kept;
        last_range.prefix = slotkv_bytes(bounds[0].bytes, bounds[0].size);
        last_range.start = slotkv_bytes(bounds[1].bytes, bounds[1].size);
        last_range.end = slotkv_bytes(bounds[2].bytes, bounds[2].size);
        last_cursor = result;
        has_last_scan = 1;
    }
end:
    for (size_t page = 0; page < pages_count; page++) {
        slotkv_result_free(&pages[page]);
    }
    free(pages);
    must(slotkv_scan_close(scan, NULL));
}

static slotkv_range_t range_of(const step_t *step) {
    slotkv_range_t range = slotkv_range();
    range.prefix = bytes_option(step, "prefix");
    range.start = bytes_option(step, "start");
    range.end = bytes_option(step, "end");
    range.is_ordered = number_option(step, "ordered", 0) == 1;
    range.keys_only = number_option(step, "keys_only", 0) == 1;
    range.page_items = (uint32_t)number_option(step, "page_items", 0);
    return range;
}

static int is(const step_t *step, const char *operation) {
    return strcmp(step->operation, operation) == 0;
}

static void carry_out(const step_t *step) {
    slotkv_client_t client = own;
    slotkv_call_options_t options = slotkv_call_options();
    is_odd_step = is_odd(step);
    if (is_odd_step && !is_representable(step)) {
        printf("unrepresentable");
        return;
    }
    options.namespace_name = text_of(option(step, "namespace"));
    options.deadline_ms = (uint32_t)number_option(step, "deadline_ms", 0);
    /* There are no views: both ways are the call's option. */
    const argument_t *traceparent = option(step, "traceparent");
    traceparent = traceparent == NULL ? option(step, "view_traceparent") : traceparent;
    options.traceparent = text_of(traceparent);
    options.ttl_ms = (uint64_t)number_option(step, "ttl_ms", 0);
    const char *level = text_of(option(step, "read_level"));
    if (level != NULL) {
        options.read_level = strcmp(level, "session") == 0 ? SLOTKV_READ_LEVEL_SESSION
                             : strcmp(level, "stale") == 0 ? SLOTKV_READ_LEVEL_STALE
                                                           : SLOTKV_READ_LEVEL_LINEARIZABLE;
    }
    options.staleness_ms = (uint32_t)number_option(step, "staleness_ms", 0);
    if (options.staleness_ms > 0) {
        options.read_level = SLOTKV_READ_LEVEL_BOUNDED;
    }
    slotkv_range_t range = range_of(step);
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    operation.options = &options;
    operation.range = &range;
    slotkv_result_t result;
    if (number_option(step, "closed", 0) == 1) {
        must(slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &client, NULL));
        must(slotkv_close(client, NULL));
    }
    if (is(step, "connect")) {
        slotkv_client_t other = 0;
        /* Behind the options of now stands one that this library does not know. */
        struct {
            slotkv_connect_options_t known;
            size_t unknown;
        } later = {slotkv_connect_options(), option(step, "unknown") != NULL};
        later.known.size = sizeof later;
        slotkv_connect(SLOTKV_ABI_VERSION, text_of(&step->arguments[0]), &later.known, &other, &result);
        print_and_free(&result, print_done);
        if (other != 0) {
            must(slotkv_close(other, NULL));
        }
        return;
    }
    if (number_option(step, "cancel", 0) == 1) {
        operation.key = slotkv_bytes(step->arguments[0].bytes, step->arguments[0].size);
        cancelled(&operation);
        return;
    }
    if (is(step, "scan")) {
        scan(client, &options, &range, bytes_option(step, "cursor"), number_option(step, "limit", INT64_MAX));
        return;
    }
    if (is(step, "scan_on")) {
        if (!has_last_scan) {
            printf("no scan");
        } else {
            scan(client, &options, &last_range, last_cursor.cursor, number_option(step, "limit", INT64_MAX));
        }
        return;
    }
    if (is(step, "gone")) {
        operation.kind = SLOTKV_OPERATION_KIND_HAS;
        operation.key = bytes_at(step, 0);
        const struct timespec pause = {0, 5000000};
        for (;;) {
            result = carried(client, &operation);
            if (result.code != SLOTKV_CODE_OK || result.number == 0) {
                break;
            }
            nanosleep(&pause, NULL);
        }
        print_and_free(&result, print_gone);
        return;
    }
    if (is(step, "slot")) {
        slotkv_slot(client, bytes_at(step, 0), &result);
        print_and_free(&result, print_slot);
        return;
    }
    print_t print = NULL, each = NULL;
    slotkv_operation_t *inner = NULL;
    size_t last_argument = step->arguments_count;
    if (step->arguments_count > 0) {
        operation.key = bytes_at(step, 0);
        last_argument--;
    }
    if (step->arguments_count > 1 && step->arguments[1].is_bytes) {
        operation.value = bytes_at(step, 1);
    }
    if (is(step, "get") || is(step, "get_entry")) {
        print = is(step, "get") ? print_value : print_entry;
    } else if (is(step, "has")) {
        operation.kind = SLOTKV_OPERATION_KIND_HAS;
        print = print_has;
    } else if (is(step, "put") || is(step, "put_if_absent") || is(step, "update_if_present")) {
        operation.kind = SLOTKV_OPERATION_KIND_PUT;
        operation.condition = is(step, "put")             ? SLOTKV_CONDITION_ALWAYS
                              : is(step, "put_if_absent") ? SLOTKV_CONDITION_ABSENT
                                                          : SLOTKV_CONDITION_PRESENT;
        print = print_write;
    } else if (is(step, "compare_and_set") || is(step, "delete_if_version")) {
        operation.kind = is(step, "compare_and_set") ? SLOTKV_OPERATION_KIND_PUT : SLOTKV_OPERATION_KIND_DELETE;
        operation.condition = SLOTKV_CONDITION_VERSION;
        operation.version = (uint64_t)step->arguments[last_argument].number;
        print = print_write;
    } else if (is(step, "expire") || is(step, "persist")) {
        operation.kind = SLOTKV_OPERATION_KIND_EXPIRE;
        options.ttl_ms = is(step, "persist") ? 0 : (uint64_t)step->arguments[last_argument].number;
        print = print_write;
    } else if (is(step, "delete")) {
        operation.kind = SLOTKV_OPERATION_KIND_DELETE;
        print = print_write;
    } else if (is(step, "increment")) {
        operation.kind = SLOTKV_OPERATION_KIND_INCREMENT;
        operation.delta = step->arguments[last_argument].number;
        print = print_number;
    } else if (is(step, "outcome")) {
        operation.kind = SLOTKV_OPERATION_KIND_OUTCOME;
        operation.token = step->arguments_count > 0 ? bytes_at(step, 0)
                                                    : slotkv_bytes(last_token.bytes, last_token.size);
        if (step->arguments_count == 0 && last_token.size == 0) {
            printf("no token");
            return;
        }
        print = print_outcome;
    } else if (is(step, "count")) {
        operation.kind = SLOTKV_OPERATION_KIND_COUNT;
        print = print_count;
    } else if (is(step, "dump")) {
        operation.kind = SLOTKV_OPERATION_KIND_DUMP;
        print = print_items;
    } else if (is(step, "get_many") || is(step, "delete_many") || is(step, "put_many")) {
        int is_put = is(step, "put_many");
        each = is(step, "get_many") ? print_value : print_write;
        operation.kind = SLOTKV_OPERATION_KIND_MANY;
        operation.operations_count = is_put ? step->arguments_count / 2 : step->arguments_count;
        inner = allocated(operation.operations_count * sizeof *inner);
        for (size_t at = 0; at < operation.operations_count; at++) {
            inner[at] = slotkv_operation(is_put                   ? SLOTKV_OPERATION_KIND_PUT
                                         : is(step, "delete_many") ? SLOTKV_OPERATION_KIND_DELETE
                                                                   : SLOTKV_OPERATION_KIND_GET);
            inner[at].key = bytes_at(step, is_put ? 2 * at : at);
            if (is_put) {
                inner[at].value = bytes_at(step, 2 * at + 1);
            }
        }
        operation.operations = inner;
    } else {
        printf("unknown");
        return;
    }
    result = carried(client, &operation);
    free(inner);
    if (each == NULL) {
        print_and_free(&result, print);
    } else if (result.code != SLOTKV_CODE_OK && result.results == NULL) {
        print_and_free(&result, print_done);
    } else {
        print_many(&result, each);
        slotkv_result_free(&result);
    }
}

int main(int count, char **arguments) {
    static step_t step;
    if (count != 3) {
        fprintf(stderr, "usage: conform calls|queue URI\n");
        return 2;
    }
    uri = arguments[2];
    must(slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &own, NULL));
    if (strcmp(arguments[1], "queue") == 0) {
        must(slotkv_queue_open(own, NULL, NULL, &own_queue, NULL));
    }
    char *line = NULL;
    size_t room = 0;
    for (ssize_t size; (size = getline(&line, &room, stdin)) > 0;) {
        if (line[size - 1] == '\n') {
            line[size - 1] = 0;
        }
        parse(line, &step);
        carry_out(&step);
        putchar('\n');
        fflush(stdout);
        forget(&step);
    }
    free(line);
    forget_last_scan();
    free(last_token.bytes);
    if (own_queue != 0) {
        must(slotkv_queue_close(own_queue, NULL));
    }
    must(slotkv_close(own, NULL));
    return 0;
}
