/* The C host: harmless URI. */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <fcntl.h>
#include <locale.h>
#include <slotkv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* What a process has that a library could change. */
typedef struct {
    char signals[512];
    char locale[256];
    char environment[16384];
    char folder[4096];
    mode_t mask;
} state_t;

static void fail(const char *what) {
    fprintf(stderr, "harmless: %s\n", what);
    exit(1);
}

static void expect(int is_so, const char *what) {
    if (!is_so) {
        fail(what);
    }
}

#define EXPECT(condition) expect((condition), #condition)

static state_t state(void) {
    state_t now;
    char line[256];
    memset(&now, 0, sizeof now);
    FILE *status = fopen("/proc/self/status", "r");
    EXPECT(status != NULL);
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "SigBlk:", 7) == 0 || strncmp(line, "SigIgn:", 7) == 0 || strncmp(line, "SigCgt:", 7) == 0) {
            /* 32 and 33 are the C library's own, from the first thread on. */
            unsigned long long signals = strtoull(line + 7, NULL, 16) & ~0x180000000ULL;
            size_t end = strlen(now.signals);
            snprintf(now.signals + end, sizeof now.signals - end, "%.7s%llx\n", line, signals);
        }
    }
    fclose(status);
    strncpy(now.locale, setlocale(LC_ALL, NULL), sizeof now.locale - 1);
    for (char **variable = environ; *variable != NULL; variable++) {
        strncat(now.environment, *variable, sizeof now.environment - strlen(now.environment) - 1);
    }
    EXPECT(getcwd(now.folder, sizeof now.folder) != NULL);
    now.mask = umask(0);
    umask(now.mask);
    return now;
}

/* No descriptor may be of a file on a disk that can be written. */
static void expect_no_files(void) {
    DIR *descriptors = opendir("/proc/self/fd");
    EXPECT(descriptors != NULL);
    for (struct dirent *entry; (entry = readdir(descriptors)) != NULL;) {
        struct stat what;
        int number = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || number <= 2 || fstat(number, &what) != 0 || !S_ISREG(what.st_mode)) {
            continue;
        }
        expect((fcntl(number, F_GETFL) & O_ACCMODE) == O_RDONLY, "a file is open for writing");
    }
    closedir(descriptors);
}

static void use(const char *uri) {
    slotkv_client_t client = 0;
    slotkv_queue_t queue = 0;
    slotkv_result_t result;
    slotkv_operation_t put = slotkv_operation(SLOTKV_OPERATION_KIND_PUT);
    slotkv_operation_t get = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    slotkv_operation_t bad = slotkv_operation(SLOTKV_OPERATION_KIND_GET);
    slotkv_connect_options_t hasty = slotkv_connect_options();
    slotkv_completion_t completion;
    size_t count = 0;
    put.key = get.key = slotkv_text("harmless");
    put.value = slotkv_text("value");
    EXPECT(slotkv_connect(SLOTKV_ABI_VERSION, uri, NULL, &client, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_call(client, &put, &result) == SLOTKV_CODE_OK);
    slotkv_result_free(&result);
    EXPECT(slotkv_queue_open(client, NULL, NULL, &queue, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_queue_submit(queue, &get, 1, NULL, NULL, NULL) == SLOTKV_CODE_OK);
    while (count == 0) {
        EXPECT(slotkv_queue_take(queue, -1, &completion, 1, &count, NULL) == SLOTKV_CODE_OK);
    }
    EXPECT(completion.result.code == SLOTKV_CODE_OK && completion.result.value.size == 5);
    slotkv_result_free(&completion.result);
    EXPECT(slotkv_call(client, &bad, &result) == SLOTKV_CODE_INVALID_ARGUMENT);
    slotkv_result_free(&result);
    EXPECT(slotkv_test_panic(&result) == SLOTKV_CODE_UNEXPECTED);
    slotkv_result_free(&result);
    expect_no_files();
    EXPECT(slotkv_queue_close(queue, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_close(client, NULL) == SLOTKV_CODE_OK);
    EXPECT(slotkv_call(client, &get, &result) == SLOTKV_CODE_CLOSED);
    slotkv_result_free(&result);
    hasty.connect_timeout_ms = 200;
    EXPECT(slotkv_connect(SLOTKV_ABI_VERSION, "slotkv://127.0.0.1:1", &hasty, &client, NULL) ==
           SLOTKV_CODE_NO_MASTER);
}

int main(int count, char **arguments) {
    static state_t before, after;
    expect(count == 2, "usage: harmless URI");
    before = state();
    /* Loading the library counts: a program in C has no handlers. */
    expect(strstr(before.signals, "SigCgt:0\n") != NULL, "signals are handled");
    use(arguments[1]);
    after = state();
    expect(strcmp(before.signals, after.signals) == 0, "signals are handled differently");
    expect(strcmp(before.locale, after.locale) == 0, "the locale has changed");
    expect(strcmp(before.environment, after.environment) == 0, "the environment has changed");
    expect(strcmp(before.folder, after.folder) == 0, "the folder has changed");
    expect(before.mask == after.mask, "the umask has changed");
    return 0;
}
