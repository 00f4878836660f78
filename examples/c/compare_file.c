/* cc examples/c/compare_file.c $(pkg-config --cflags --libs slotkv) -o compare_file && ./compare_file FILE URI
 *
 * Reads back every record of a JSON Lines file (as `slotkv import` reads it) and compares it byte for byte; the demo's C
 * client. Prints {"done": n} as it goes, and at the end the records found, those that differ, and the seconds. */

#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <stdio.h>
#include <time.h>

/* Records asked for at once, unless their values are large. */
#define CHUNK_RECORDS 2000
/* Bytes of lines of a chunk. */
#define CHUNK_BYTES (16 << 20)

/* A line, and where its key and value are: decoded in its place, which is never too short. */
struct Record {
    char *line;
    slotkv_bytes_t key, value;
};

static struct Record chunk[CHUNK_RECORDS];
static int64_t records, different, done;
static double seconds;

static int sextet(char letter) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = letter == 0 ? NULL : strchr(alphabet, letter);
    return found == NULL ? -1 : (int)(found - alphabet);
}

static size_t decode_base64(unsigned char *text, size_t size) {
    size_t written = 0;
    uint32_t bits = 0;
    int bits_count = 0;
    for (size_t at = 0; at < size && text[at] != '='; at++) {
        int six = sextet((char)text[at]);
        EXPECT(six >= 0);
        bits = bits << 6 | (uint32_t)six;
        bits_count += 6;
        if (bits_count >= 8) {
            bits_count -= 8;
            text[written++] = (unsigned char)(bits >> bits_count);
        }
    }
    return written;
}

/* Decodes the string behind a quote in its place; where it ended goes to `*end`. Escaped letters are of ASCII: the others
 * stand as they are. */
static slotkv_bytes_t decode_string(char *text, char **end) {
    unsigned char *out = (unsigned char *)text;
    char *in = text;
    while (*in != '"') {
        EXPECT(*in != 0);
        if (*in != '\\') {
            *out++ = (unsigned char)*in++;
            continue;
        }
        static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        const char *name = strchr(names, in[1]);
        if (in[1] == 'u') {
            char digits[5] = {in[2], in[3], in[4], in[5], 0};
            unsigned long letter = strtoul(digits, NULL, 16);
            EXPECT(letter < 0x80);
            *out++ = (unsigned char)letter;
            in += 6;
        } else {
            EXPECT(in[1] != 0 && name != NULL);
            *out++ = (unsigned char)meant[name - names];
            in += 2;
        }
    }
    *end = in + 1;
    return slotkv_bytes(text, (size_t)(out - (unsigned char *)text));
}

/* The key and value of a line, `{"key": "..." | "key_base64": "...", ...}`; 0 for the header. */
static int parse(struct Record *record) {
    int found = 0;
    char *at = record->line;
    if (strncmp(at, "{\"slotkv_export\"", 16) == 0) {
        return 0;
    }
    while ((at = strchr(at, '"')) != NULL) {
        slotkv_bytes_t name = decode_string(at + 1, &at);
        while (*at == ':' || *at == ' ') {
            at++;
        }
        EXPECT(*at == '"');
        slotkv_bytes_t bytes = decode_string(at + 1, &at);
        int is_key = name.size >= 3 && memcmp(name.data, "key", 3) == 0;
        if (name.size > strlen("value")) {
            bytes.size = decode_base64((unsigned char *)(uintptr_t)bytes.data, bytes.size);
        }
        *(is_key ? &record->key : &record->value) = bytes;
        found |= is_key ? 1 : 2;
    }
    EXPECT(found == 3);
    return 1;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void compare(slotkv_client_t client, size_t count) {
    static slotkv_bytes_t keys[CHUNK_RECORDS];
    slotkv_result_t result;
    for (size_t at = 0; at < count; at++) {
        keys[at] = chunk[at].key;
    }
    double start = now();
    must(slotkv_get_many(client, keys, count, NULL, &result), &result);
    seconds += now() - start;
    for (size_t at = 0; at < count; at++) {
        slotkv_bytes_t expected = chunk[at].value, value = result.results[at].value;
        if (result.results[at].status == SLOTKV_STATUS_FOUND) {
            records++;
            different += value.size != expected.size ||
                         (value.size > 0 && memcmp(value.data, expected.data, value.size) != 0);
        }
        free(chunk[at].line);
    }
    slotkv_result_free(&result);
    done += (int64_t)count;
    printf("{\"done\":%lld}\n", (long long)done);
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: compare_file FILE URI\n");
        return 2;
    }
    slotkv_client_t client = connected(arguments[2], NULL, 60000);
    slotkv_result_t result;
    FILE *file = fopen(arguments[1], "r");
    EXPECT(file != NULL);
    size_t chunk_records = 0, chunk_bytes = 0, room = 0;
    ssize_t length;
    char *line = NULL;
    while ((length = getline(&line, &room, file)) > 0) {
        struct Record *record = &chunk[chunk_records];
        record->line = line;
        if (parse(record)) {
            chunk_records++;
            chunk_bytes += (size_t)length;
            /* The record has it now. */
            line = NULL;
            room = 0;
        }
        if (chunk_records == CHUNK_RECORDS || chunk_bytes >= CHUNK_BYTES) {
            compare(client, chunk_records);
            chunk_records = chunk_bytes = 0;
        }
    }
    EXPECT(!ferror(file));
    compare(client, chunk_records);
    free(line);
    fclose(file);
    must(slotkv_close(client, &result), &result);
    printf("{\"records\":%lld,\"different\":%lld,\"seconds\":%.6f}\n", (long long)records, (long long)different, seconds);
    return 0;
}
