/* What the test programs check with: the first thing that is not so ends the program and names its line. */

#ifndef CHECK_H
#define CHECK_H

#include <slotkv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* A call that must end with a code. The result is freed. */
#define CHECK_CODE(expected, call)                                                    \
    do {                                                                              \
        slotkv_result_t result;                                                       \
        slotkv_code_t told = (call);                                                  \
        if (told != (expected) || told != result.code) {                              \
            fprintf(stderr, "%s:%d: %s is %s: %s\n", __FILE__, __LINE__, #call, slotkv_code_name((int)told), \
                    result.error != NULL ? result.error->message : "");               \
            exit(1);                                                                  \
        }                                                                             \
        CHECK((told == SLOTKV_CODE_OK) == (result.error == NULL));                    \
        slotkv_result_free(&result);                                                  \
    } while (0)

static inline int is_text(slotkv_bytes_t bytes, const char *text) {
    return bytes.size == strlen(text) && (bytes.size == 0 || memcmp(bytes.data, text, bytes.size) == 0);
}

#endif
