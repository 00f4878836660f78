/* cc examples/c/scan.c $(pkg-config --cflags --libs slotkv) -o scan && ./scan [URI]
 *
 * Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor. */

#include "example.h"

#define PEOPLE 500
#define PLACES 100

static char keys[PEOPLE + PLACES][16];
static char seen[PEOPLE];

/* Takes items until there are none or so many have been taken; how many. */
static int take(slotkv_scan_t scan, int items_max) {
    int taken = 0;
    while (taken < items_max) {
        slotkv_result_t result;
        must(slotkv_scan_next(scan, (size_t)(items_max - taken), &result), &result);
        if (result.items_count == 0) {
            break;
        }
        for (size_t at = 0; at < result.items_count; at++) {
            const char *key = result.items[at].key.data;
            seen[atoi(key + strlen("people/"))]++;
        }
        taken += (int)result.items_count;
        slotkv_result_free(&result);
    }
    return taken;
}

int main(int count, char **arguments) {
    slotkv_client_t client = connected(uri_of(count, arguments), "example-scan", 0);
    static slotkv_bytes_t names[PEOPLE + PLACES];
    static slotkv_pair_t records[PEOPLE + PLACES];
    slotkv_result_t result;
    for (int number = 0; number < PEOPLE + PLACES; number++) {
        const char *kind = number < PEOPLE ? "people" : "places";
        snprintf(keys[number], sizeof keys[number], "%s/%04d", kind, number % PEOPLE);
        records[number].key = records[number].value = names[number] = slotkv_text(keys[number]);
    }
    must(slotkv_put_many(client, records, PEOPLE + PLACES, NULL, &result), &result);
    slotkv_result_free(&result);

    /* Slot order: every key once, whatever is written meanwhile. */
    slotkv_range_t people = slotkv_range();
    people.prefix = slotkv_text("people/");
    must(slotkv_count(client, &people, NULL, &result), &result);
    EXPECT(result.number == PEOPLE);
    slotkv_scan_t scan;
    must(slotkv_scan(client, &people, slotkv_bytes(NULL, 0), NULL, &scan, &result), &result);
    int found = take(scan, 200);

    /* A cursor is plain bytes: another process, also in another language, can go on from it. */
    slotkv_result_t cursor;
    must(slotkv_scan_cursor(scan, &cursor), &cursor);
    must(slotkv_scan_close(scan, &result), &result);
    must(slotkv_scan(client, &people, cursor.cursor, NULL, &scan, &result), &result);
    slotkv_result_free(&cursor);
    found += take(scan, 1000000);
    must(slotkv_scan_close(scan, &result), &result);
    EXPECT(found == PEOPLE);
    for (int number = 0; number < PEOPLE; number++) {
        EXPECT(seen[number] == 1);
    }

    /* Key order, keys alone. */
    slotkv_range_t across = slotkv_range();
    across.start = slotkv_text("people/0490");
    across.end = slotkv_text("places/0010");
    across.is_ordered = 1;
    across.keys_only = 1;
    must(slotkv_scan(client, &across, slotkv_bytes(NULL, 0), NULL, &scan, &result), &result);
    int ordered = 0;
    for (;;) {
        must(slotkv_scan_next(scan, 100, &result), &result);
        size_t items = result.items_count;
        for (size_t at = 0; at < items; at++) {
            EXPECT(is_text(result.items[at].key, keys[490 + ordered]) && result.items[at].value.size == 0);
            ordered++;
        }
        slotkv_result_free(&result);
        if (items == 0) {
            break;
        }
    }
    EXPECT(ordered == 20);
    must(slotkv_scan_close(scan, &result), &result);

    must(slotkv_delete_many(client, names, PEOPLE + PLACES, NULL, &result), &result);
    slotkv_result_free(&result);
    must(slotkv_close(client, &result), &result);
    printf("scan: %d keys in two parts, %d in key order\n", found, ordered);
    return 0;
}
