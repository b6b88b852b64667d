// sockload -n TOTAL [-c CLOSE_WAIT] [-t TIME_WAIT] [-6 PERCENT] [-P WORKERS]:
// holds TCP sockets on loopback until its input ends. It prints READY when all
// are there. Run it in a network namespace of its own.
//
// -n  sockets in all; what the others leave is ESTABLISHED, and both ends of a
//     connection are in one worker, so that a connection is two sockets
// -c  ends of connections whose other end was closed
// -t  these are made again as they expire, after 60 s
// -6  so many of 100 ESTABLISHED connections go over ::1
// -P  processes that hold the sockets; each listens on its own address
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FIRST_PORT 21115
#define PORTS 5
#define FIRST_PORT6 10000 // each worker has one port of ::1

// The addresses of a worker are these plus its number.
#define SERVER 0x7f010000u
#define CLIENT 0x7f020000u
#define LEAVER 0x7f050000u // clients of what is to be in CLOSE_WAIT

static const int one = 1;

static void die(const char *what) {
	fprintf(stderr, "sockload[%d]: %s: %s\n", getpid(), what, strerror(errno));
	exit(1);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in address(unsigned ip, int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
	return a;
}

static struct sockaddr_in6 address6(int port) {
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	return a;
}

static int new_socket(int family) {
	int s = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		die("socket");
	return s;
}

static int listener(int family, void *address, socklen_t len) {
	int s = new_socket(family);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, address, len))
		die("bind listener");
	if (listen(s, 4096))
		die("listen");
	return s;
}

struct worker {
	int number;
	int listeners[PORTS], listener6;
	unsigned long made; // connections so far: they go to the ports in turn
};

struct pair {
	int client, server;
};

// connected makes a connection. A source port other than 0 is never used again,
// so that no later SYN can reset a server end in CLOSE_WAIT.
static struct pair connected(struct worker *w, unsigned source_ip, int source_port) {
	int k = w->made++ % PORTS;
	struct sockaddr_in from = address(source_ip | w->number, source_port);
	struct sockaddr_in to = address(SERVER | w->number, FIRST_PORT + k);
	struct pair p = {.client = new_socket(AF_INET)};
	// The port is chosen at connect, by the four-tuple, or they would run out.
	setsockopt(p.client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (bind(p.client, (void *)&from, sizeof from))
		die("bind client");
	if (connect(p.client, (void *)&to, sizeof to))
		die("connect");
	p.server = accept4(w->listeners[k], 0, 0, SOCK_CLOEXEC);
	if (p.server < 0)
		die("accept");
	return p;
}

static struct pair connected6(struct worker *w) {
	struct sockaddr_in6 to = address6(FIRST_PORT6 + w->number);
	struct pair p = {.client = new_socket(AF_INET6)};
	if (connect(p.client, (void *)&to, sizeof to))
		die("connect over ::1");
	p.server = accept4(w->listener6, 0, 0, SOCK_CLOEXEC);
	if (p.server < 0)
		die("accept over ::1");
	return p;
}

// abortive lets a socket vanish at once when its process ends.
static void abortive(int s) {
	struct linger l = {1, 0};
	setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

static void leave_close_wait(struct worker *w, long n) {
	int one_second = 1; // the closed end stays in FIN_WAIT2 so long
	for (long i = 0; i < n; i++) {
		struct pair p = connected(w, LEAVER, 1024 + i);
		abortive(p.server);
		setsockopt(p.client, IPPROTO_TCP, TCP_LINGER2, &one_second, sizeof one_second);
		close(p.client);
	}
}

static void leave_established(struct worker *w, long n, int percent6) {
	for (long i = 0; i < n / 2; i++) {
		struct pair p = i % 100 < percent6 ? connected6(w) : connected(w, CLIENT, 0);
		abortive(p.client);
		abortive(p.server);
	}
}

static void leave_time_wait(struct worker *w, long n) {
	for (long i = 0; i < n; i++) {
		struct pair p = connected(w, CLIENT, 0);
		close(p.client);
		close(p.server);
	}
}

static void work(struct worker *w, long established, long close_wait, long time_wait, int percent6, int ready) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, SIG_DFL);
	for (int k = 0; k < PORTS; k++) {
		struct sockaddr_in a = address(SERVER | w->number, FIRST_PORT + k);
		w->listeners[k] = listener(AF_INET, &a, sizeof a);
	}
	struct sockaddr_in6 a = address6(FIRST_PORT6 + w->number);
	w->listener6 = listener(AF_INET6, &a, sizeof a);

	leave_close_wait(w, close_wait);
	leave_established(w, established, percent6);
	leave_time_wait(w, time_wait);
	if (write(ready, "x", 1) != 1)
		die("report to parent");
	close(ready);

	double began = now();
	for (long again = 0;;) {
		usleep(100000);
		long due = time_wait / 60.0 * (now() - began);
		leave_time_wait(w, due - again);
		again = due;
	}
}

static pid_t *workers;
static int worker_count;

// finish ends the workers and waits for them: their sockets are gone then.
static void finish(int sig) {
	(void)sig;
	for (int i = 0; i < worker_count; i++)
		if (workers[i] > 0)
			kill(workers[i], SIGKILL);
	while (wait(0) > 0)
		;
	_exit(0);
}

// share is the part of n for worker i.
static long share(long n, int i) {
	return n * (i + 1) / worker_count - n * i / worker_count;
}

int main(int argc, char **argv) {
	long total = 1000, close_wait = 0, time_wait = 0;
	int percent6 = 0;
	worker_count = 1;
	for (int o; (o = getopt(argc, argv, "n:c:t:6:P:")) != -1;) {
		switch (o) {
		case 'n': total = atol(optarg); break;
		case 'c': close_wait = atol(optarg); break;
		case 't': time_wait = atol(optarg); break;
		case '6': percent6 = atoi(optarg); break;
		case 'P': worker_count = atoi(optarg); break;
		default: return 2;
		}
	}
	struct rlimit files = {1 << 17, 1 << 17};
	if (setrlimit(RLIMIT_NOFILE, &files)) {
		getrlimit(RLIMIT_NOFILE, &files);
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	long listeners = (PORTS + 1) * worker_count;
	long established = total - close_wait - time_wait - listeners;
	if (established < 0)
		established = 0;

	int ready[2];
	workers = calloc(worker_count, sizeof *workers);
	if (pipe(ready))
		die("pipe");
	signal(SIGTERM, finish);
	signal(SIGINT, finish);
	for (int i = 0; i < worker_count; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			struct worker w = {.number = i + 1};
			close(ready[0]);
			close(0);
			work(&w, share(established, i), share(close_wait, i), share(time_wait, i), percent6, ready[1]);
		}
		workers[i] = pid;
	}
	close(ready[1]);
	char c;
	for (int i = 0; i < worker_count; i++) {
		if (read(ready[0], &c, 1) != 1) {
			fprintf(stderr, "sockload: a worker failed\n");
			finish(0);
		}
	}
	printf("READY\n");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	finish(0);
}
