/* GETs of existing keys by the C library, so many in flight: 1 by calls that wait, more by a queue with a callback.
 *
 *     load URI OPERATIONS RECORDS IN_FLIGHT
 *
 * Prints one line of JSON, as benches/python/measure.py does. */

#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <slotkv.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define KEY_BYTES 16
/* The part of the operations that runs before it is measured. */
#define WARM_UP_PART 20
#define IN_FLIGHT_MAX 1024

/* `slotkv bench` spreads index over number so (server/daemon/src/bench/data.rs). */
#define SPREAD 618033988749894849u
#define NUMBERS 1000000000000u

static uint64_t records;
static double *latencies;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what, const slotkv_result_t *result) {
    fprintf(stderr, "%s: %s\n", what, result->error == NULL ? "?" : result->error->message);
    exit(1);
}

/* The same keys in the same order in every run (splitmix64). */
static void next_key(uint64_t *state, char key[KEY_BYTES + 1]) {
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    uint64_t number = (mixed ^ (mixed >> 31)) % records;
    /* number * SPREAD modulo NUMBERS, in halves that do not overflow. */
    uint64_t spread = SPREAD % NUMBERS, sum = 0;
    for (uint64_t bit = number; bit > 0; bit >>= 1) {
        if (bit & 1) {
            sum = (sum + spread) % NUMBERS;
        }
        spread = spread * 2 % NUMBERS;
    }
    snprintf(key, KEY_BYTES + 1, "user%012" PRIu64, sum);
}

/* Keys are made before they are measured. */
#define KEYS 65536
static char keys[KEYS][KEY_BYTES + 1];

static slotkv_bytes_t key_of(uint64_t number) {
    slotkv_bytes_t key = {(const uint8_t *)keys[number % KEYS], KEY_BYTES};
    return key;
}

static void load_by_calls(slotkv_client_t client, uint64_t operations) {
    slotkv_result_t result;
    for (uint64_t number = 0; number < operations; number++) {
        double start = now();
        if (slotkv_get(client, key_of(number), NULL, &result) != SLOTKV_CODE_OK) {
            fail("slotkv_get", &result);
        }
        if (result.status != SLOTKV_STATUS_FOUND) {
            fail("a key is missing", &result);
        }
        latencies[number] = now() - start;
        slotkv_result_free(&result);
    }
}

/* A load by a queue, which its callback goes on with. */
typedef struct {
    slotkv_queue_t queue;
    uint64_t operations, begun;
    _Atomic uint64_t ended;
    double starts[IN_FLIGHT_MAX];
} load_t;

static void begin(load_t *load, void **slots, size_t count) {
    slotkv_operation_t operations[IN_FLIGHT_MAX];
    slotkv_result_t result;
    size_t filled = 0;
    for (; filled < count && load->begun < load->operations; filled++) {
        operations[filled] = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
        operations[filled].key = key_of(load->begun++);
        operations[filled].context = slots[filled];
        *(double *)slots[filled] = now();
    }
    if (filled > 0 && slotkv_queue_submit(load->queue, operations, filled, NULL, NULL, &result) != SLOTKV_CODE_OK) {
        fail("slotkv_queue_submit", &result);
    }
}

static void on_ends(void *context, slotkv_completion_t *completions, size_t count) {
    load_t *load = context;
    void *slots[IN_FLIGHT_MAX];
    uint64_t ended = atomic_load(&load->ended);
    double end = now();
    for (size_t at = 0; at < count; at++) {
        if (completions[at].result.code != SLOTKV_CODE_OK || completions[at].result.status != SLOTKV_STATUS_FOUND) {
            fail("a GET", &completions[at].result);
        }
        latencies[ended++] = end - *(double *)completions[at].context;
        slots[at] = completions[at].context;
        slotkv_result_free(&completions[at].result);
    }
    begin(load, slots, count);
    atomic_store(&load->ended, ended);
}

static void load_by_queue(load_t *load, uint64_t operations, size_t in_flight) {
    void *slots[IN_FLIGHT_MAX];
    struct timespec pause = {0, 200000};
    load->operations = operations;
    load->begun = 0;
    atomic_store(&load->ended, 0);
    for (size_t at = 0; at < in_flight; at++) {
        slots[at] = &load->starts[at];
    }
    begin(load, slots, in_flight);
    while (atomic_load(&load->ended) < operations) {
        nanosleep(&pause, NULL);
    }
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* User and system time of the servers, fields 14 and 15; the name in field 2 may hold blanks. */
static double cpu_of_servers(void) {
    const char *told = getenv("BENCH_SERVER_PIDS");
    char *pids = strdup(told == NULL ? "" : told);
    double ticks = 0;
    for (char *pid = strtok(pids, ","); pid != NULL; pid = strtok(NULL, ",")) {
        char path[64], stat[1024] = "";
        unsigned long user = 0, system = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", pid);
        FILE *file = fopen(path, "r");
        if (file == NULL) {
            continue;
        }
        if (fread(stat, 1, sizeof stat - 1, file) > 0 && strrchr(stat, ')') != NULL) {
            sscanf(strrchr(stat, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
        }
        fclose(file);
        ticks += (double)(user + system);
    }
    free(pids);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int count, char **arguments) {
    slotkv_connect_options_t options = slotkv_connect_options();
    slotkv_client_t client = 0;
    slotkv_result_t result;
    static load_t load;
    if (count != 5) {
        fprintf(stderr, "usage: load URI OPERATIONS RECORDS IN_FLIGHT\n");
        return 2;
    }
    uint64_t operations = strtoull(arguments[2], NULL, 10);
    size_t in_flight = strtoull(arguments[4], NULL, 10);
    uint64_t state = 1;
    records = strtoull(arguments[3], NULL, 10);
    latencies = calloc(operations, sizeof *latencies);
    if (latencies == NULL || in_flight < 1 || in_flight > IN_FLIGHT_MAX) {
        return 2;
    }
    for (size_t number = 0; number < KEYS; number++) {
        next_key(&state, keys[number]);
    }
    if (slotkv_connect(SLOTKV_ABI_VERSION, arguments[1], &options, &client, &result) != SLOTKV_CODE_OK) {
        fail("slotkv_connect", &result);
    }
    if (in_flight > 1 && slotkv_queue_open(client, on_ends, &load, &load.queue, &result) != SLOTKV_CODE_OK) {
        fail("slotkv_queue_open", &result);
    }
    double start = 0, client_cpu = 0, servers_cpu = 0;
    for (int is_measured = 0; is_measured < 2; is_measured++) {
        start = now(), client_cpu = cpu(), servers_cpu = cpu_of_servers();
        uint64_t these = is_measured ? operations : operations / WARM_UP_PART;
        if (in_flight > 1) {
            load_by_queue(&load, these, in_flight);
        } else {
            load_by_calls(client, these);
        }
    }
    double seconds = now() - start;
    client_cpu = cpu() - client_cpu, servers_cpu = cpu_of_servers() - servers_cpu;
    qsort(latencies, operations, sizeof *latencies, by_size);
    printf("{\"operations\": %" PRIu64 ", \"seconds\": %.9f, \"client_cpu_seconds\": %.6f, \"servers_cpu_seconds\": %.6f, "
           "\"p50_us\": %.3f, \"p99_us\": %.3f}\n",
           operations, seconds, client_cpu, servers_cpu, latencies[operations / 2] * 1e6,
           latencies[operations * 99 / 100] * 1e6);
    if (in_flight > 1 && slotkv_queue_close(load.queue, &result) != SLOTKV_CODE_OK) {
        fail("slotkv_queue_close", &result);
    }
    return slotkv_close(client, &result) == SLOTKV_CODE_OK ? 0 : 1;
}
