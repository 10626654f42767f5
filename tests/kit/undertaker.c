/* Preloaded into a program: kills it at one of its writes to a file whose name holds KILL_FILE, the KILL_AT-th, counted
 * from 1. With KILL_TORN, half of that write is done. What was written before stays, as after a kill from outside. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long writes;

static int is_last(int fd) {
    const char *file = getenv("KILL_FILE"), *at = getenv("KILL_AT");
    char link[64], path[4096];
    if (!file || !at) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, file) && atomic_fetch_add(&writes, 1) + 1 == atol(at);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (!next) next = dlsym(RTLD_NEXT, "pwrite64");
    if (is_last(fd)) {
        if (getenv("KILL_TORN")) next(fd, bytes, count / 2, at);
        die();
    }
    return next(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

int ftruncate64(int fd, off64_t length) {
    static int (*next)(int, off64_t);
    if (!next) next = dlsym(RTLD_NEXT, "ftruncate64");
    if (is_last(fd)) die();
    return next(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
