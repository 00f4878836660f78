/* The tests of the C client: client URI [quick]. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define BATCH 200
#define BIG_BYTES (1 << 20)
/* Longest time that something may take that must happen. */
#define PATIENCE_MS 20000

/* The sanitizer's allocator has locks that a child of many threads may find held for ever. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

static const char *uri;
static int is_quick;
static slotkv_client_t client;

static void a_program_of_another_abi_is_refused(void) {
    slotkv_client_t other = 0;
    CHECK(slotkv_abi_version() == SLOTKV_ABI_VERSION);
    CHECK(strlen(slotkv_version()) > 0);
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED, slotkv_connect(SLOTKV_ABI_VERSION + 1, uri, NULL, &other, &result));
    CHECK(other == 0);
}

static void connecting_with_wrong_arguments_is_refused(void) {
    slotkv_client_t other = 0;
    slotkv_connect_options_t options = slotkv_connect_options();
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_connect(SLOTKV_ABI_VERSION, NULL, NULL, &other, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_connect(SLOTKV_ABI_VERSION, "\xff", NULL, &other, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT,
               slotkv_connect(SLOTKV_ABI_VERSION, "redis://127.0.0.1:1", NULL, &other, &result));
    options.size = 3;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_connect(SLOTKV_ABI_VERSION, uri, &options, &other, &result));
    options = slotkv_connect_options();
    options.connect_timeout_ms = 300;
    CHECK_CODE(SLOTKV_CODE_NO_MASTER,
               slotkv_connect(SLOTKV_ABI_VERSION, "slotkv://127.0.0.1:1", &options, &other, &result));
    CHECK(other == 0);
}

static void keys_are_put_got_and_deleted(void) {
    slotkv_bytes_t key = slotkv_text("c/key");
    slotkv_result_t result;
    slotkv_delete(client, key, NULL, NULL);

    CHECK(slotkv_put(client, key, slotkv_text("one"), NULL, &result) == SLOTKV_CODE_OK);
    CHECK(result.status == SLOTKV_STATUS_CREATED && result.version > 0 && result.memory == 0);
    uint64_t version = result.version;
    CHECK(slotkv_get(client, key, NULL, &result) == SLOTKV_CODE_OK);
    CHECK(result.status == SLOTKV_STATUS_FOUND && is_text(result.value, "one") && result.version == version);
    CHECK(slotkv_result_free(&result) == SLOTKV_CODE_OK);
    CHECK(result.value.data == NULL && result.memory == 0);

    slotkv_has(client, key, NULL, &result);
    CHECK(result.number == 1 && result.status == SLOTKV_STATUS_FOUND);
    slotkv_put_if_absent(client, key, slotkv_text("two"), NULL, &result);
    CHECK(result.code == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_UNMET && result.version == version);
    slotkv_compare_and_set(client, key, slotkv_text("two"), version + 1000, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UNMET);
    slotkv_compare_and_set(client, key, slotkv_text("two"), version, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UPDATED && result.version > version);
    slotkv_update_if_present(client, key, slotkv_bytes(NULL, 0), NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UPDATED);
    slotkv_get(client, key, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_FOUND && result.value.size == 0);
    /* A place that there is, as other languages' collectors want pointers to be. */
    CHECK(result.value.data != NULL && *(const char *)result.value.data == 0);
    version = result.version;
    slotkv_result_free(&result);

    slotkv_delete_if_version(client, key, version + 1000, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UNMET);
    slotkv_delete_if_version(client, key, version, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_DELETED);
    slotkv_delete(client, key, NULL, &result);
    CHECK(result.code == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_NOT_FOUND);
    slotkv_get(client, key, NULL, &result);
    CHECK(result.code == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_NOT_FOUND && result.value.data == NULL);
    slotkv_has(client, key, NULL, &result);
    CHECK(result.number == 0);
    slotkv_update_if_present(client, key, slotkv_text("x"), NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UNMET);
}

static void a_lifetime_is_told_and_ends(void) {
    slotkv_bytes_t key = slotkv_text("c/lasting");
    slotkv_result_t result;
    slotkv_call_options_t hour = slotkv_call_options(), soon = slotkv_call_options();
    hour.ttl_ms = 3600000;
    soon.ttl_ms = 50;
    CHECK(slotkv_put(client, key, slotkv_text("1"), &hour, NULL) == SLOTKV_CODE_OK);
    slotkv_get(client, key, NULL, &result);
    CHECK(result.ttl_ms > 3500000 && result.ttl_ms <= 3600000);
    slotkv_result_free(&result);
    CHECK(slotkv_get(client, key, &hour, NULL) == SLOTKV_CODE_INVALID_ARGUMENT);
    CHECK(slotkv_persist(client, key, &hour, NULL) == SLOTKV_CODE_INVALID_ARGUMENT);
    CHECK(slotkv_persist(client, key, NULL, &result) == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_UPDATED);
    slotkv_get(client, key, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_FOUND && result.ttl_ms == 0);
    slotkv_result_free(&result);
    CHECK(slotkv_expire(client, key, 7200000, NULL, &result) == SLOTKV_CODE_OK);
    CHECK(result.status == SLOTKV_STATUS_UPDATED);
    slotkv_range_t range = slotkv_range();
    range.prefix = key;
    slotkv_dump(client, &range, NULL, &result);
    CHECK(result.items_count == 1 && result.items[0].ttl_ms > 7100000 && result.items[0].ttl_ms <= 7200000);
    slotkv_result_free(&result);
    CHECK(slotkv_expire(client, key, 0, NULL, NULL) == SLOTKV_CODE_INVALID_ARGUMENT);
    CHECK(slotkv_expire(client, key, 315360000001, NULL, NULL) == SLOTKV_CODE_INVALID_ARGUMENT);
    slotkv_operation_t expire = slotkv_operation(SLOTKV_OPERATION_KIND_EXPIRE);
    expire.key = key;
    expire.options = &soon;
    CHECK(slotkv_call(client, &expire, &result) == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_UPDATED);
    slotkv_pair_t pair = {slotkv_text("c/lasting2"), slotkv_text("2")};
    CHECK(slotkv_put_many(client, &pair, 1, &soon, NULL) == SLOTKV_CODE_OK);
    slotkv_bytes_t keys[] = {key, pair.key};
    for (int at = 0; at < 2; at++) {
        while (slotkv_get(client, keys[at], NULL, &result) == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_FOUND) {
            nanosleep(&(struct timespec){.tv_nsec = (long)result.ttl_ms * 1000000}, NULL);
            slotkv_result_free(&result);
        }
        CHECK(result.code == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_NOT_FOUND);
    }
    slotkv_expire(client, key, 1000, NULL, &result);
    CHECK(result.status == SLOTKV_STATUS_UNMET && result.version == 0);
}

static void numbers_are_added(void) {
    slotkv_bytes_t key = slotkv_text("c/number");
    slotkv_result_t result;
    slotkv_delete(client, key, NULL, NULL);
    CHECK(slotkv_increment(client, key, 41, NULL, &result) == SLOTKV_CODE_OK && result.number == 41);
    CHECK(slotkv_increment(client, key, -83, NULL, &result) == SLOTKV_CODE_OK && result.number == -42);
    CHECK(slotkv_increment(client, key, INT64_MIN, NULL, &result) == SLOTKV_CODE_OVERFLOW);
    CHECK(strcmp(result.error->kind, "OVERFLOW") == 0 && result.error->outcome == SLOTKV_OUTCOME_FAILED);
    CHECK(result.error->retry == SLOTKV_RETRY_NEVER && !result.error->retryable);
    CHECK(strlen(result.error->message) > 0 && result.error->member != NULL && result.error->attempts == 1);
    slotkv_result_free(&result);
    slotkv_delete(client, key, NULL, NULL);
}

static void a_large_value_comes_back_whole(void) {
    slotkv_bytes_t key = slotkv_text("c/large");
    unsigned char *value = malloc(BIG_BYTES);
    CHECK(value != NULL);
    for (size_t at = 0; at < BIG_BYTES; at++) {
        value[at] = (unsigned char)(at * 31 + at / 256);
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_put(client, key, slotkv_bytes(value, BIG_BYTES), NULL, &result));
    slotkv_result_t result;
    CHECK(slotkv_get(client, key, NULL, &result) == SLOTKV_CODE_OK);
    CHECK(result.value.size == BIG_BYTES && memcmp(result.value.data, value, BIG_BYTES) == 0);
    slotkv_result_free(&result);
    slotkv_delete(client, key, NULL, NULL);
    free(value);
}

static void each_of_many_keys_has_its_result(void) {
    static char long_key[40000];
    memset(long_key, 'x', sizeof long_key);
    slotkv_pair_t pairs[3] = {
        {slotkv_text("c/many/a"), slotkv_text("1")},
        {slotkv_bytes(long_key, sizeof long_key), slotkv_text("2")},
        {slotkv_text("c/many/c"), slotkv_text("3")},
    };
    slotkv_result_t result;
    CHECK(slotkv_put_many(client, pairs, 3, NULL, &result) == SLOTKV_CODE_TOO_LARGE);
    CHECK(result.results_count == 3 && result.error != NULL);
    CHECK(result.results[0].code == SLOTKV_CODE_OK && result.results[0].status == SLOTKV_STATUS_CREATED);
    CHECK(result.results[1].code == SLOTKV_CODE_TOO_LARGE && result.results[1].error != NULL);
    CHECK(result.results[2].status == SLOTKV_STATUS_CREATED);
    slotkv_result_free(&result);

    slotkv_bytes_t keys[3] = {slotkv_text("c/many/c"), slotkv_text("c/many/none"), slotkv_text("c/many/a")};
    CHECK(slotkv_get_many(client, keys, 3, NULL, &result) == SLOTKV_CODE_OK);
    CHECK(is_text(result.results[0].value, "3") && is_text(result.results[2].value, "1"));
    CHECK(result.results[1].status == SLOTKV_STATUS_NOT_FOUND);
    slotkv_result_free(&result);
    CHECK(slotkv_delete_many(client, keys, 3, NULL, &result) == SLOTKV_CODE_OK);
    CHECK(result.results[0].status == SLOTKV_STATUS_DELETED && result.results[1].status == SLOTKV_STATUS_NOT_FOUND);
    slotkv_result_free(&result);
    CHECK(slotkv_get_many(client, NULL, 0, NULL, &result) == SLOTKV_CODE_OK && result.results_count == 0);
    CHECK(result.results == NULL && result.items == NULL && result.error == NULL);
    slotkv_result_free(&result);
}

static void put_numbered(int count) {
    slotkv_pair_t *pairs = calloc((size_t)count, sizeof *pairs);
    char(*keys)[24] = calloc((size_t)count, sizeof *keys);
    CHECK(pairs != NULL && keys != NULL);
    for (int number = 0; number < count; number++) {
        snprintf(keys[number], sizeof keys[number], "c/scan/%04d", number);
        pairs[number].key = pairs[number].value = slotkv_text(keys[number]);
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_put_many(client, pairs, (size_t)count, NULL, &result));
    free(pairs);
    free(keys);
}

static void a_range_is_counted_scanned_dumped_and_gone_on_with(void) {
    put_numbered(50);
    slotkv_range_t range = slotkv_range();
    range.prefix = slotkv_text("c/scan/");
    slotkv_result_t result;
    CHECK(slotkv_count(client, &range, NULL, &result) == SLOTKV_CODE_OK && result.number == 50);
    CHECK(slotkv_dump(client, &range, NULL, &result) == SLOTKV_CODE_OK && result.items_count == 50);
    CHECK(is_text(result.items[7].key, "c/scan/0007") && is_text(result.items[7].value, "c/scan/0007"));
    slotkv_result_free(&result);

    range.is_ordered = 1;
    range.keys_only = 1;
    range.page_items = 7;
    slotkv_scan_t scan = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan(client, &range, slotkv_bytes(NULL, 0), NULL, &scan, &result));
    CHECK(slotkv_scan_cursor(scan, &result) == SLOTKV_CODE_OK && result.cursor.data == NULL);
    slotkv_result_free(&result);
    size_t found = 0;
    while (found < 20) {
        CHECK(slotkv_scan_next(scan, 20 - found, &result) == SLOTKV_CODE_OK);
        CHECK(result.items_count > 0 && result.items_count <= 7 && result.items[0].value.size == 0);
        found += result.items_count;
        slotkv_result_free(&result);
    }
    slotkv_result_t cursor;
    CHECK(slotkv_scan_cursor(scan, &cursor) == SLOTKV_CODE_OK && cursor.cursor.size > 0);
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_scan_next(scan, 0, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan_close(scan, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_scan_close(scan, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_scan_next(scan, 1, &result));

    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan(client, &range, cursor.cursor, NULL, &scan, &result));
    slotkv_result_free(&cursor);
    for (;;) {
        CHECK(slotkv_scan_next(scan, 1000, &result) == SLOTKV_CODE_OK);
        size_t count = result.items_count;
        if (count > 0 && found == 20) {
            CHECK(is_text(result.items[0].key, "c/scan/0020"));
        }
        slotkv_result_free(&result);
        if (count == 0) {
            break;
        }
        found += count;
    }
    CHECK(found == 50);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan_close(scan, &result));
    /* A cursor is looked at when it is used. */
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan(client, &range, slotkv_text("no cursor"), NULL, &scan, &result));
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED, slotkv_scan_next(scan, 1, &result));
    slotkv_scan_close(scan, NULL);
}

static void namespaces_do_not_see_each_other(void) {
    slotkv_call_options_t options = slotkv_call_options();
    slotkv_result_t result;
    options.namespace_name = "c-other";
    options.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    slotkv_bytes_t key = slotkv_text("c/namespace");
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_put(client, key, slotkv_text("there"), &options, &result));
    slotkv_get(client, key, NULL, &result);
    CHECK(result.code == SLOTKV_CODE_OK && result.status == SLOTKV_STATUS_NOT_FOUND);
    slotkv_delete(client, key, &options, &result);
    CHECK(result.status == SLOTKV_STATUS_DELETED);
    options.namespace_name = "\xff";
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(client, key, &options, &result));
}

static bool all_lead(const slotkv_cluster_t *cluster) {
    for (size_t at = 0; at < cluster->shards_count; at++) {
        if (strcmp(cluster->shards[at].state, "leader") != 0) {
            return false;
        }
    }
    return true;
}

static void a_client_tells_about_itself_and_the_cluster(void) {
    slotkv_result_t result;
    CHECK(slotkv_slot(client, slotkv_text("foo"), &result) == SLOTKV_CODE_OK && result.number >= 0);
    int64_t slot = result.number;
    CHECK(slotkv_explain(client, slotkv_text("{foo}x"), &result) == SLOTKV_CODE_OK);
    CHECK(result.explanation->slot == slot && result.explanation->hash_slot == 12182);
    CHECK(is_text(result.explanation->tag, "foo") && result.explanation->shard >= 0);
    CHECK(strlen(result.explanation->cluster_id) > 0 && strlen(result.explanation->address) > 0);
    slotkv_result_free(&result);
    CHECK(slotkv_stats(client, &result) == SLOTKV_CODE_OK);
    CHECK(result.stats->calls > 0 && result.stats->calls_ok > 0 && result.stats->members_count > 0);
    CHECK(strlen(result.stats->members[0].address) > 0);
    slotkv_result_free(&result);
    CHECK(slotkv_status(client, NULL, &result) == SLOTKV_CODE_OK);
    /* A master learns a moment later than clients who leads. */
    for (int asked = 0; !all_lead(result.cluster) && asked < PATIENCE_MS; asked++) {
        slotkv_result_free(&result);
        CHECK(slotkv_status(client, NULL, &result) == SLOTKV_CODE_OK);
    }
    CHECK(result.cluster->shards_count > 0 && result.cluster->masters_count > 0);
    CHECK(result.cluster->slot_count > 0 && strlen(result.cluster->shards[0].durability) > 0);
    for (size_t at = 0; at < result.cluster->shards_count; at++) {
        const slotkv_shard_t *shard = &result.cluster->shards[at];
        CHECK(shard->replicas == 1 && shard->loss_epoch == 0 && shard->copies_count == 1);
        CHECK(strcmp(shard->preferred, shard->primary) == 0 && strlen(shard->reason) == 0 && strlen(shard->recover) == 0);
        const slotkv_replica_t *copy = &shard->copies[0];
        CHECK(strcmp(copy->name, shard->primary) == 0 && copy->live && copy->in_isr && copy->since_ms > 0);
        CHECK(strncmp(copy->state, "leader", 6) == 0 && strlen(copy->address) > 0 && strlen(copy->zone) == 0);
    }
    slotkv_result_free(&result);
}

/* Whether a session's token is that of another, whose length is the same. */
static bool has_seen_the_same(slotkv_session_t session, const slotkv_result_t *seen) {
    slotkv_result_t now;
    CHECK(slotkv_session_seen(session, &now) == SLOTKV_CODE_OK);
    bool is_same = now.value.size == seen->value.size && memcmp(now.value.data, seen->value.data, now.value.size) == 0;
    slotkv_result_free(&now);
    return is_same;
}

static void a_session_sees_what_its_own_calls_have_seen_and_goes_on_from_its_token(void) {
    slotkv_bytes_t key = slotkv_text("c/session");
    slotkv_session_t session = 0, other = 0;
    slotkv_result_t seen, result;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_session_open(slotkv_bytes(NULL, 0), &session, &result));
    slotkv_session_seen(session, &seen);
    CHECK(slotkv_put(client, key, slotkv_text("1"), NULL, NULL) == SLOTKV_CODE_OK);
    CHECK(has_seen_the_same(session, &seen));
    slotkv_call_options_t own = slotkv_call_options();
    own.session = session;
    CHECK(slotkv_put(client, key, slotkv_text("2"), &own, NULL) == SLOTKV_CODE_OK);
    CHECK(!has_seen_the_same(session, &seen));
    slotkv_result_free(&seen);
    slotkv_session_seen(session, &seen);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_session_open(seen.value, &other, &result));
    CHECK(has_seen_the_same(other, &seen));
    own.session = other;
    own.read_level = SLOTKV_READ_LEVEL_SESSION;
    slotkv_get(client, key, &own, &result);
    CHECK(result.status == SLOTKV_STATUS_FOUND && is_text(result.value, "2"));
    slotkv_result_free(&result);
    /* A token by itself does as well, but not both. */
    own.session_token = seen.value;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(client, key, &own, &result));
    own.session = 0;
    CHECK(slotkv_get(client, key, &own, NULL) == SLOTKV_CODE_OK);
    slotkv_result_free(&seen);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_session_close(other, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_session_close(other, &result));
    own = slotkv_call_options();
    own.session = other;
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_get(client, key, &own, &result));
    own.session = client;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(client, key, &own, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_session_seen(client, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_session_open(slotkv_bytes(NULL, 0), NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_session_open(slotkv_text("\x01nonsense"), &other, &result));
    CHECK_CODE(SLOTKV_CODE_UNSUPPORTED, slotkv_session_open(slotkv_text("\x02"), &other, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_session_close(session, &result));
}

static void wrong_handles_and_arguments_are_errors(void) {
    slotkv_bytes_t key = slotkv_text("k");
    slotkv_client_t wrong[] = {0, 1, UINT64_MAX, client + 1, client ^ (UINT64_C(1) << 63)};
    for (size_t at = 0; at < sizeof wrong / sizeof wrong[0]; at++) {
        CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(wrong[at], key, NULL, &result));
        CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_close(wrong[at], &result));
        CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_scan_next(wrong[at], 1, &result));
        CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_close(wrong[at], &result));
        CHECK(slotkv_queue_fd(wrong[at]) == -1);
    }
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_close(client, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(client, slotkv_bytes(NULL, 5), NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get(client, slotkv_bytes(NULL, 0), NULL, &result));
    CHECK_CODE(SLOTKV_CODE_TOO_LARGE, slotkv_get(client, slotkv_bytes("", SIZE_MAX), NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_get_many(client, NULL, 2, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_put_many(client, NULL, SIZE_MAX, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_call(client, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT,
               slotkv_scan(client, NULL, slotkv_bytes(NULL, 0), NULL, NULL, &result));
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    operation.kind = 99;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_call(client, &operation, &result));
    operation = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
    operation.key = key;
    operation.condition = 99;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_call(client, &operation, &result));
    /* A code is told also where nobody wants more. */
    CHECK(slotkv_get(0, key, NULL, NULL) == SLOTKV_CODE_INVALID_ARGUMENT);
}

static void a_result_freed_twice_is_an_error(void) {
    slotkv_result_t result, copy;
    CHECK(slotkv_status(client, NULL, &result) == SLOTKV_CODE_OK);
    copy = result;
    CHECK(slotkv_result_free(&result) == SLOTKV_CODE_OK);
    CHECK(slotkv_result_free(&result) == SLOTKV_CODE_OK);
    CHECK(slotkv_result_free(&copy) == SLOTKV_CODE_CLOSED);
    copy.memory = 4711;
    CHECK(slotkv_result_free(&copy) == SLOTKV_CODE_INVALID_ARGUMENT);
    CHECK(slotkv_result_free(NULL) == SLOTKV_CODE_OK);
}

static void a_panic_is_an_error(void) {
    slotkv_result_t result;
    CHECK(slotkv_test_panic(&result) == SLOTKV_CODE_UNEXPECTED);
    CHECK(strstr(result.error->message, "on purpose") != NULL);
    slotkv_result_free(&result);
    CHECK(slotkv_test_panic(NULL) == SLOTKV_CODE_UNEXPECTED);
}

static int at_once(void *context) {
    ++*(int *)context;
    return 1;
}

static void a_call_that_takes_long_ends_by_its_deadline_or_when_its_host_wants_it_to(void) {
    /* Nobody answers: a client without connection, to a port that takes none. */
    slotkv_connect_options_t lazy = slotkv_connect_options();
    lazy.is_lazy = 1;
    lazy.connect_timeout_ms = 60000;
    slotkv_client_t nobody = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, "slotkv://127.0.0.1:1", &lazy, &nobody, &result));
    slotkv_call_options_t options = slotkv_call_options();
    int asked = 0;
    options.interrupt = at_once;
    options.interrupt_context = &asked;
    slotkv_result_t result;
    CHECK(slotkv_get(nobody, slotkv_text("k"), &options, &result) == SLOTKV_CODE_CANCELLED);
    CHECK(asked == 1 && result.error->outcome == SLOTKV_OUTCOME_FAILED);
    slotkv_result_free(&result);
    options = slotkv_call_options();
    options.deadline_ms = 100;
    CHECK_CODE(SLOTKV_CODE_TIMEOUT, slotkv_get(nobody, slotkv_text("k"), &options, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(nobody, &result));
}

static void *add(void *context) {
    (void)context;
    int rounds = is_quick ? 5 : 100;
    for (int round = 0; round < rounds; round++) {
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_increment(client, slotkv_text("c/threads"), 1, NULL, &result));
        slotkv_result_t result;
        CHECK(slotkv_get(client, slotkv_text("c/threads"), NULL, &result) == SLOTKV_CODE_OK);
        CHECK(result.value.size > 0);
        slotkv_result_free(&result);
    }
    return NULL;
}

static void threads_share_a_client(void) {
    pthread_t threads[THREADS];
    slotkv_delete(client, slotkv_text("c/threads"), NULL, NULL);
    for (int number = 0; number < THREADS; number++) {
        CHECK(pthread_create(&threads[number], NULL, add, NULL) == 0);
    }
    for (int number = 0; number < THREADS; number++) {
        pthread_join(threads[number], NULL);
    }
    slotkv_result_t result;
    slotkv_increment(client, slotkv_text("c/threads"), 0, NULL, &result);
    CHECK(result.number == THREADS * (is_quick ? 5 : 100));
}

static int readable(int fd, int timeout_ms) {
    struct pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, timeout_ms) == 1;
}

/* Puts in one batch; contexts are the numbers. */
static void submit_puts(slotkv_queue_t queue, int count, slotkv_pending_t *pending) {
    slotkv_operation_t *operations = calloc((size_t)count, sizeof *operations);
    char(*keys)[24] = calloc((size_t)count, sizeof *keys);
    CHECK(operations != NULL && keys != NULL);
    for (int number = 0; number < count; number++) {
        snprintf(keys[number], sizeof keys[number], "c/queue/%d", number);
        operations[number] = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
        operations[number].key = operations[number].value = slotkv_text(keys[number]);
        operations[number].context = (void *)(intptr_t)number;
    }
    size_t begun = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, operations, (size_t)count, pending, &begun, &result));
    CHECK(begun == (size_t)count);
    /* Everything was copied. */
    memset(operations, 0xff, (size_t)count * sizeof *operations);
    memset(keys, 0xff, (size_t)count * sizeof *keys);
    free(operations);
    free(keys);
}

static void a_queue_is_waited_for_by_its_descriptor_with_few_wake_ups(void) {
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    int fd = slotkv_queue_fd(queue);
    CHECK(fd >= 0 && !readable(fd, 0));
    submit_puts(queue, BATCH, NULL);
    char seen[BATCH] = {0};
    slotkv_completion_t completions[16];
    size_t ended = 0;
    while (ended < BATCH) {
        CHECK(readable(fd, PATIENCE_MS));
        size_t count = 0;
        CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, 0, completions, 16, &count, &result));
        for (size_t at = 0; at < count; at++) {
            intptr_t number = (intptr_t)completions[at].context;
            CHECK(completions[at].result.code == SLOTKV_CODE_OK && !seen[number]++);
            CHECK(completions[at].result.status != SLOTKV_STATUS_NONE);
            slotkv_result_free(&completions[at].result);
        }
        ended += count;
    }
    slotkv_queue_counters_t counters;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_counts(queue, &counters, &result));
    CHECK(counters.submissions == BATCH && counters.completions == BATCH && counters.open == 0);
    CHECK(counters.rings == 1);
    /* A batch of replies for each of the shards at most, and not one per call. */
    CHECK(counters.wakeups >= 1 && counters.wakeups <= BATCH / 8);
    /* One for each frame; it may be taken while it still grows. */
    slotkv_result_t told;
    CHECK(slotkv_queue_stats(queue, &told) == SLOTKV_CODE_OK);
    CHECK(counters.wakeups <= 2 * told.stats->frames_received + 2);
    slotkv_result_free(&told);
    size_t count = 9;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, 1, completions, 16, &count, &result));
    CHECK(count == 0);
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_take(queue, 0, completions, 0, &count, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_take(queue, 0, NULL, 1, &count, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_take(queue, 0, completions, 1, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_close(queue, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_take(queue, 0, completions, 16, &count, &result));
    CHECK(slotkv_queue_fd(queue) == -1);
}

static slotkv_result_t take_one(slotkv_queue_t queue, void **context) {
    slotkv_completion_t completion;
    size_t count = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, &completion, 1, &count, &result));
    CHECK(count == 1);
    *context = completion.context;
    return completion.result;
}

static void operations_of_every_kind_go_through_a_queue(void) {
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    slotkv_range_t range = slotkv_range();
    range.prefix = slotkv_text("c/queue/");
    slotkv_operation_t inner[2] = {
        slotkv_operation(SLOTKV_OPERATION_KIND_HAS),
        slotkv_operation(SLOTKV_OPERATION_KIND_GET),
    };
    inner[0].key = inner[1].key = slotkv_text("c/queue/1");
    slotkv_operation_kind_t kinds[] = {
        SLOTKV_OPERATION_KIND_GET,   SLOTKV_OPERATION_KIND_HAS,  SLOTKV_OPERATION_KIND_COUNT,
        SLOTKV_OPERATION_KIND_PAGE,  SLOTKV_OPERATION_KIND_DUMP, SLOTKV_OPERATION_KIND_STATUS,
        SLOTKV_OPERATION_KIND_MANY,
    };
    slotkv_operation_t operations[sizeof kinds / sizeof kinds[0]];
    size_t kinds_count = sizeof kinds / sizeof kinds[0];
    for (size_t at = 0; at < kinds_count; at++) {
        operations[at] = slotkv_operation(kinds[at]);
        operations[at].key = slotkv_text("c/queue/1");
        operations[at].range = &range;
        operations[at].operations = inner;
        operations[at].operations_count = 2;
        operations[at].context = &operations[at];
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, operations, kinds_count, NULL, NULL, &result));
    for (size_t ended = 0; ended < kinds_count; ended++) {
        void *context;
        slotkv_result_t result = take_one(queue, &context);
        slotkv_operation_t *operation = context;
        CHECK(result.code == SLOTKV_CODE_OK);
        switch (operation->kind) {
        case SLOTKV_OPERATION_KIND_GET:
            CHECK(is_text(result.value, "c/queue/1"));
            break;
        case SLOTKV_OPERATION_KIND_HAS:
            CHECK(result.number == 1);
            break;
        case SLOTKV_OPERATION_KIND_COUNT:
            CHECK(result.number == BATCH);
            break;
        case SLOTKV_OPERATION_KIND_PAGE:
            CHECK(result.items_count > 0 || result.cursor.data != NULL);
            break;
        case SLOTKV_OPERATION_KIND_DUMP:
            CHECK(result.items_count == BATCH);
            break;
        case SLOTKV_OPERATION_KIND_STATUS:
            CHECK(result.cluster->shards_count > 0);
            break;
        default:
            CHECK(result.results_count == 2 && result.results[0].number == 1);
            CHECK(is_text(result.results[1].value, "c/queue/1"));
        }
        slotkv_result_free(&result);
    }
    /* One that is not as it should be, and nothing is begun. */
    size_t begun = 9;
    operations[1].kind = 0;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT,
               slotkv_queue_submit(queue, operations, kinds_count, NULL, &begun, &result));
    CHECK(begun == 0);
    operations[1].kind = SLOTKV_OPERATION_KIND_HAS;
    operations[1].size = 8;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT,
               slotkv_queue_submit(queue, operations, kinds_count, NULL, &begun, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_submit(queue, NULL, 3, NULL, &begun, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, NULL, 0, NULL, &begun, &result));
    slotkv_queue_counters_t counters;
    slotkv_queue_counts(queue, &counters, NULL);
    CHECK(counters.open == 0);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void a_scan_by_pages_goes_on_behind_any_item(void) {
    put_numbered(50);
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    slotkv_range_t range = slotkv_range();
    range.prefix = slotkv_text("c/scan/");
    range.is_ordered = 1;
    range.page_items = 20;
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_PAGE);
    operation.range = &range;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
    void *context;
    slotkv_result_t page = take_one(queue, &context), cursor;
    CHECK(page.items_count > 5);
    CHECK(slotkv_queue_cursor(queue, &range, &page.items[4], NULL, &cursor) == SLOTKV_CODE_OK);
    slotkv_result_free(&page);
    operation.cursor = cursor.cursor;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
    slotkv_result_free(&cursor);
    page = take_one(queue, &context);
    CHECK(page.items_count > 0 && is_text(page.items[0].key, "c/scan/0005"));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_cursor(queue, &range, NULL, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_queue_cursor(client, &range, page.items, NULL, &result));
    slotkv_result_free(&page);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static void a_cancelled_operation_says_what_became_of_it_and_does_not_come_back(void) {
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    slotkv_pending_t pending[BATCH];
    submit_puts(queue, BATCH, pending);
    int cancelled = 0;
    slotkv_result_t result;
    for (int number = 0; number < BATCH; number += 2) {
        slotkv_completion_t completion;
        slotkv_code_t code = slotkv_queue_cancel(queue, pending[number], &completion, &result);
        CHECK(code == SLOTKV_CODE_OK || code == SLOTKV_CODE_CLOSED);
        slotkv_result_free(&result);
        if (code == SLOTKV_CODE_OK) {
            CHECK((intptr_t)completion.context == number);
            CHECK(completion.result.code == SLOTKV_CODE_CANCELLED);
            CHECK(completion.result.error->outcome == SLOTKV_OUTCOME_FAILED ||
                  completion.result.error->outcome == SLOTKV_OUTCOME_UNKNOWN);
            slotkv_result_free(&completion.result);
            cancelled++;
        }
    }
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_cancel(queue, 0, NULL, &result));
    for (int ended = cancelled; ended < BATCH; ended++) {
        void *context;
        result = take_one(queue, &context);
        CHECK(result.code == SLOTKV_CODE_OK);
        slotkv_result_free(&result);
    }
    slotkv_queue_counters_t counters;
    slotkv_queue_counts(queue, &counters, NULL);
    CHECK(counters.open == 0);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

struct Called {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    slotkv_queue_t queue;
    int calls;
    int ended;
    int again;
    int wrong;
};

static void on_completions(void *context, slotkv_completion_t *completions, size_t count) {
    struct Called *called = context;
    pthread_mutex_lock(&called->lock);
    called->calls++;
    for (size_t at = 0; at < count; at++) {
        called->wrong += completions[at].result.code != SLOTKV_CODE_OK;
        slotkv_result_free(&completions[at].result);
        called->ended++;
    }
    if (called->again > 0) {
        called->again--;
        slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
        operation.key = slotkv_text("c/queue/1");
        called->wrong += slotkv_queue_submit(called->queue, &operation, 1, NULL, NULL, NULL) != SLOTKV_CODE_OK;
        /* It would wait for itself. */
        called->wrong += slotkv_get(client, operation.key, NULL, NULL) != SLOTKV_CODE_INVALID_ARGUMENT;
        called->wrong += slotkv_queue_close(called->queue, NULL) != SLOTKV_CODE_INVALID_ARGUMENT;
    }
    pthread_cond_signal(&called->changed);
    pthread_mutex_unlock(&called->lock);
}

static void a_callback_gets_whole_batches_and_may_submit(void) {
    struct Called called = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .again = 3};
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, on_completions, &called, &called.queue, &result));
    CHECK(slotkv_queue_fd(called.queue) == -1);
    submit_puts(called.queue, BATCH, NULL);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&called.lock);
    while (called.ended < BATCH + 3) {
        CHECK(pthread_cond_timedwait(&called.changed, &called.lock, &end) == 0);
    }
    CHECK(called.wrong == 0 && called.calls <= BATCH / 8);
    pthread_mutex_unlock(&called.lock);
    slotkv_queue_counters_t counters;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_counts(called.queue, &counters, &result));
    CHECK(counters.wakeups <= BATCH / 8);
    slotkv_completion_t completion;
    size_t count;
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT,
               slotkv_queue_take(called.queue, 0, &completion, 1, &count, &result));

    /* Closed with operations open: each ends before close returns. */
    submit_puts(called.queue, BATCH, NULL);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(called.queue, &result));
    pthread_mutex_lock(&called.lock);
    CHECK(called.ended == 2 * BATCH + 3);
    pthread_mutex_unlock(&called.lock);
}

static void closing_a_client_ends_its_queues_and_scans(void) {
    slotkv_client_t other = 0;
    slotkv_queue_t queue = 0;
    slotkv_scan_t scan = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &other, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(other, NULL, NULL, &queue, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan(other, NULL, slotkv_bytes(NULL, 0), NULL, &scan, &result));
    submit_puts(queue, BATCH, NULL);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(other, &result));
    for (int ended = 0; ended < BATCH; ended++) {
        void *context;
        slotkv_result_t result = take_one(queue, &context);
        CHECK(result.code == SLOTKV_CODE_OK || result.code == SLOTKV_CODE_CLOSED);
        slotkv_result_free(&result);
    }
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    operation.key = slotkv_text("k");
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_scan_next(scan, 1, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_get(other, slotkv_text("k"), NULL, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_close(other, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_queue_open(other, NULL, NULL, &queue, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_scan_close(scan, &result));
}

static void a_forked_child_goes_on_and_opens_queues_of_its_own(void) {
    if (is_quick || IS_SANITIZED) {
        return;
    }
    slotkv_queue_t queue = 0;
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_INCREMENT);
    operation.key = slotkv_text("c/fork");
    operation.delta = 1;
    slotkv_delete(client, operation.key, NULL, NULL);
    /* So that locks are held while it forks. */
    pthread_t threads[THREADS];
    for (int number = 0; number < THREADS; number++) {
        CHECK(pthread_create(&threads[number], NULL, add, NULL) == 0);
    }
    for (int child = 0; child < 3; child++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(PATIENCE_MS / 1000);
            size_t count;
            slotkv_completion_t completion;
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_call(client, &operation, &result));
            CHECK_CODE(SLOTKV_CODE_FORKED, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
            CHECK_CODE(SLOTKV_CODE_FORKED, slotkv_queue_take(queue, 0, &completion, 1, &count, &result));
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_open(client, NULL, NULL, &queue, &result));
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_take(queue, PATIENCE_MS, &completion, 1, &count, &result));
            CHECK(count == 1 && completion.result.code == SLOTKV_CODE_OK);
            CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(client, &result));
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (int number = 0; number < THREADS; number++) {
        pthread_join(threads[number], NULL);
    }
    slotkv_result_t result;
    slotkv_increment(client, operation.key, 0, NULL, &result);
    CHECK(result.number == 6);
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_submit(queue, &operation, 1, NULL, NULL, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_queue_close(queue, &result));
}

static atomic_int records;

static void on_record(void *context, const slotkv_record_t *record) {
    atomic_int *counted = context;
    if (record->level <= SLOTKV_LEVEL_TRACE && strncmp(record->target, "slotkv", 6) == 0 && record->message != NULL) {
        atomic_fetch_add(counted, 1);
    }
}

static void logs_go_to_the_callback_and_nowhere_else(void) {
    CHECK_CODE(SLOTKV_CODE_INVALID_ARGUMENT, slotkv_log(99, on_record, &records, &result));
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_log(SLOTKV_LEVEL_TRACE, on_record, &records, &result));
    /* What a panic says is logged, too. */
    CHECK(slotkv_test_panic(NULL) == SLOTKV_CODE_UNEXPECTED);
    for (int waited = 0; atomic_load(&records) == 0 && waited < PATIENCE_MS; waited++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_log(SLOTKV_LEVEL_OFF, NULL, NULL, &result));
    int counted = atomic_load(&records);
    CHECK(counted > 0);
    CHECK(slotkv_test_panic(NULL) == SLOTKV_CODE_UNEXPECTED);
    CHECK(atomic_load(&records) == counted);
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: client URI [quick]\n");
        return 2;
    }
    uri = arguments[1];
    is_quick = count > 2;
    a_program_of_another_abi_is_refused();
    connecting_with_wrong_arguments_is_refused();
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &client, &result));
    void (*const tests[])(void) = {
        keys_are_put_got_and_deleted,
        a_lifetime_is_told_and_ends,
        numbers_are_added,
        a_large_value_comes_back_whole,
        each_of_many_keys_has_its_result,
        a_range_is_counted_scanned_dumped_and_gone_on_with,
        namespaces_do_not_see_each_other,
        a_client_tells_about_itself_and_the_cluster,
        a_session_sees_what_its_own_calls_have_seen_and_goes_on_from_its_token,
        wrong_handles_and_arguments_are_errors,
        a_result_freed_twice_is_an_error,
        a_panic_is_an_error,
        a_call_that_takes_long_ends_by_its_deadline_or_when_its_host_wants_it_to,
        threads_share_a_client,
        a_queue_is_waited_for_by_its_descriptor_with_few_wake_ups,
        operations_of_every_kind_go_through_a_queue,
        a_scan_by_pages_goes_on_behind_any_item,
        a_cancelled_operation_says_what_became_of_it_and_does_not_come_back,
        a_callback_gets_whole_batches_and_may_submit,
        closing_a_client_ends_its_queues_and_scans,
        a_forked_child_goes_on_and_opens_queues_of_its_own,
        logs_go_to_the_callback_and_nowhere_else,
    };
    size_t passed = sizeof tests / sizeof tests[0];
    for (size_t at = 0; at < passed; at++) {
        tests[at]();
    }
    CHECK_CODE(SLOTKV_CODE_OK, slotkv_close(client, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_close(client, &result));
    CHECK_CODE(SLOTKV_CODE_CLOSED, slotkv_get(client, slotkv_text("k"), NULL, &result));
    printf("%zu passed\n", passed + 2);
    return 0;
}
