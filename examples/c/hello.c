/* cc examples/c/hello.c $(pkg-config --cflags --libs slotkv) -o hello && ./hello [URI]
 *
 * Put, get and delete, and what they answer. */

#include "example.h"

int main(int count, char **arguments) {
    slotkv_client_t client = connected(uri_of(count, arguments), NULL, 0);
    slotkv_bytes_t key = slotkv_text("hello");
    slotkv_result_t result;
    must(slotkv_delete(client, key, NULL, &result), &result);

    must(slotkv_put(client, key, slotkv_text("world"), NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_CREATED);
    must(slotkv_put(client, key, slotkv_text("slotkv"), NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_UPDATED);

    must(slotkv_get(client, key, NULL, &result), &result);
    EXPECT(is_text(result.value, "slotkv"));
    /* What a result points to is its own; it is the caller's to free. */
    slotkv_result_free(&result);

    must(slotkv_get(client, slotkv_text("nobody"), NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_NOT_FOUND);

    /* Any bytes will do, as a key and as a value; a value may be empty. */
    slotkv_bytes_t bytes = slotkv_bytes("\0\xff key", 6);
    must(slotkv_put(client, bytes, slotkv_bytes(NULL, 0), NULL, &result), &result);
    must(slotkv_get(client, bytes, NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_FOUND && result.value.size == 0);
    slotkv_result_free(&result);
    must(slotkv_delete(client, bytes, NULL, &result), &result);

    must(slotkv_delete(client, key, NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_DELETED);
    must(slotkv_delete(client, key, NULL, &result), &result);
    EXPECT(result.status == SLOTKV_STATUS_NOT_FOUND);

    must(slotkv_close(client, &result), &result);
    puts("hello: created, updated, read, deleted");
    return 0;
}
