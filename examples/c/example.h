/* What the examples share: the URI, and an end that says why when something is not as it should be. */

#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <slotkv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *uri_of(int count, char **arguments) {
    return count > 1 ? arguments[1] : "slotkv://127.0.0.1:7700";
}

/* Ends the program if a call failed. */
static inline void must(slotkv_code_t code, const slotkv_result_t *result) {
    if (code != SLOTKV_CODE_OK) {
        const slotkv_error_t *error = result == NULL ? NULL : result->error;
        fprintf(stderr, "%s: %s\n", slotkv_code_name((int)code), error == NULL ? "" : error->message);
        exit(1);
    }
}

/* Ends the program if something is not so. */
static inline void expect(int is_so, const char *what) {
    if (!is_so) {
        fprintf(stderr, "not so: %s\n", what);
        exit(1);
    }
}

#define EXPECT(condition) expect((condition), #condition)

static inline int is_text(slotkv_bytes_t bytes, const char *text) {
    return bytes.size == strlen(text) && (bytes.size == 0 || memcmp(bytes.data, text, bytes.size) == 0);
}

/* A client whose calls are for one namespace. */
static inline slotkv_client_t connected(const char *uri, const char *namespace_name, uint32_t deadline_ms) {
    slotkv_connect_options_t options = slotkv_connect_options();
    slotkv_client_t client = 0;
    slotkv_result_t result;
    options.namespace_name = namespace_name;
    options.deadline_ms = deadline_ms;
    must(slotkv_connect(SLOTKV_ABI_VERSION, uri, &options, &client, &result), &result);
    return client;
}

#endif
