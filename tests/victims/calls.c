/*
 * calls OPENED READ PORT: opens the first file, reads the second, and connects to the port, ten times
 * on each of four threads, whenever a line comes; then says with which errnos, as in
 * `open=0:40 read=5:40 connect=0:39,110:1`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPEN, READ, CONNECT, OPS };
enum { THREADS = 4, TIMES = 10, ERRNOS = 256 };

static const char *const names[OPS] = { "open", "read", "connect" };
static const char *opened;
static int file;
static struct sockaddr_in peer = { .sin_family = AF_INET };
static unsigned seen[OPS][ERRNOS];
/* The threads are there before a fault is: they wait for each other and for the line. */
static pthread_barrier_t begin, end;

static void count(int op, long result)
{
	__atomic_fetch_add(&seen[op][result < 0 ? errno : 0], 1, __ATOMIC_RELAXED);
}

static void *work(void *unused)
{
	for (;;) {
		pthread_barrier_wait(&begin);
		for (int time = 0; time < TIMES; time++) {
			char byte;
			int fd = open(opened, O_RDONLY | O_CLOEXEC);
			count(OPEN, fd);
			if (fd >= 0)
				close(fd);
			count(READ, pread(file, &byte, 1, 0));
			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			count(CONNECT, connect(fd, (struct sockaddr *)&peer, sizeof peer));
			close(fd);
		}
		pthread_barrier_wait(&end);
	}
	return unused;
}

static void say(void)
{
	for (int op = 0; op < OPS; op++) {
		char between = '=';
		printf("%s%s", op ? " " : "", names[op]);
		for (int number = 0; number < ERRNOS; number++) {
			if (seen[op][number]) {
				printf("%c%d:%u", between, number, seen[op][number]);
				between = ',';
			}
			seen[op][number] = 0;
		}
	}
	puts("");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[16];

	if (argc != 4 || (file = open(argv[2], O_RDONLY)) < 0)
		return 1;
	opened = argv[1];
	peer.sin_port = htons(atoi(argv[3]));
	peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pthread_barrier_init(&begin, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (int thread = 0; thread < THREADS; thread++) {
		pthread_t started;
		if (pthread_create(&started, NULL, work, NULL))
			return 1;
	}
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		say();
	}
	return 0;
}
