/*
 * A wall clock that differs from the machine's, for the processes that preload this library (LD_PRELOAD).
 *
 * SPOCKCHAOS_CLOCK names a file whose first eight bytes are the offset, an int64 of nanoseconds in the machine's byte
 * order. It is mapped, so a change is seen at once, by every process and in the middle of whatever it does. Only the
 * clock of the day differs: CLOCK_MONOTONIC, timers and sleeps are the kernel's and stay as they are.
 *
 * No call into libc is bound to a version of its symbols (it is linked without libraries), so that a library
 * compiled here serves a server that has another libc.
 */
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

#define SECOND 1000000000LL

typedef int clock_function(clockid_t, struct timespec *);

static const int64_t none;
static const int64_t *offset = &none; /* until the file is mapped */
static clock_function *machine;       /* libc's clock_gettime */

static int read_clock(clockid_t id, struct timespec *t)
{
	int64_t by;

	if (!machine && !(machine = (clock_function *) dlsym(RTLD_NEXT, "clock_gettime"))) {
		errno = ENOSYS;
		return -1;
	}
	if (machine(id, t) != 0)
		return -1;
	if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)
		return 0;
	by = __atomic_load_n(offset, __ATOMIC_RELAXED);
	if (by == 0)
		return 0;
	t->tv_sec += by / SECOND;
	t->tv_nsec += by % SECOND;
	if (t->tv_nsec < 0) {
		t->tv_nsec += SECOND;
		t->tv_sec--;
	} else if (t->tv_nsec >= SECOND) {
		t->tv_nsec -= SECOND;
		t->tv_sec++;
	}
	return 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	return read_clock(id, t);
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t;

	(void) zone;
	if (read_clock(CLOCK_REALTIME, &t) != 0)
		return -1;
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *seconds)
{
	struct timespec t;

	if (read_clock(CLOCK_REALTIME_COARSE, &t) != 0)
		return -1;
	if (seconds)
		*seconds = t.tv_sec;
	return t.tv_sec;
}

/* A file that cannot be mapped leaves the clock as it is. */
static void __attribute__((constructor)) map_offset(void)
{
	struct timespec t;
	const char *path = getenv("SPOCKCHAOS_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at;

	if (fd >= 0) {
		at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
		if (at != MAP_FAILED)
			offset = at;
		close(fd);
	}
	read_clock(CLOCK_MONOTONIC, &t); /* finds libc's function now, not first in a signal handler */
}
