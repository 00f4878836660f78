/* Preloaded into workers and masters of the torture: a sync that fails, and a wall clock that was set. Both are told by a
 * file of two numbers that xtask maps as well; the kernel's clock and the disk stay as they are. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    /* Not 0: the error of every sync. */
    volatile int64_t sync_error;
    /* What is added to the wall clock. */
    volatile int64_t clock_seconds;
};

static struct orders none;
static struct orders *orders = &none;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("SLOTKV_TORTURE_ORDERS");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        void *mapped = mmap(NULL, sizeof(struct orders), PROT_READ, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED) {
            orders = mapped;
        }
        close(file);
    }
}

static int synced(int (*real)(int), int file) {
    int64_t error = orders->sync_error;
    if (error != 0) {
        errno = (int)error;
        return -1;
    }
    return real(file);
}

int fsync(int file) {
    return synced(real_fsync, file);
}

int fdatasync(int file) {
    return synced(real_fdatasync, file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = real_clock_gettime(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        time->tv_sec += orders->clock_seconds;
    }
    return result;
}
