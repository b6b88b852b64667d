// meter SECONDS COMMAND [ARGUMENT...]: runs a command with its output thrown
// away and prints one line about it:
//
//   STATUS WALL_NS CPU_NS MAX_RSS_KB
//
// STATUS is the exit code, 128 + the signal that ended it, or -1 if it took
// longer than SECONDS. It is a small C program because the peak of the memory
// of a child begins with that of the process that started it.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;
static volatile sig_atomic_t late;

static void on_alarm(int sig) {
	(void)sig;
	late = 1;
	kill(-child, SIGKILL);
}

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long ns(struct timeval t) {
	return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

int main(int argc, char **argv) {
	if (argc < 3)
		return 2;
	signal(SIGALRM, on_alarm);

	long long began = now();
	child = fork();
	if (child < 0) {
		perror("fork");
		return 1;
	}
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		if (!freopen("/dev/null", "w", stdout))
			_exit(127);
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	setpgid(child, child);
	alarm(atoi(argv[1]));

	int status;
	struct rusage use;
	while (wait4(child, &status, 0, &use) < 0)
		;
	long long took = now() - began;

	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	printf("%d %lld %lld %ld\n", late ? -1 : code, took, ns(use.ru_utime) + ns(use.ru_stime), use.ru_maxrss);
	return 0;
}
