// floor [-C] [-s STATES] [-b] [-r REPEATS]: the least that a look at the TCP
// sockets costs. It asks sock_diag, walks the headers of the answers and counts
// them; it reads nothing else. It prints
//
//   SOCKETS MEDIAN_NS MIN_NS
//
// -C  asks in the way of Linux 2.6 (TCPDIAG_GETSOCK), which answers for IPv4 and
//     IPv6 from one walk of the kernel's table; without it two requests are made
// -s  only the states of this mask
// -b  only the local ports 21115 to 21119, by a filter that the kernel runs
// -r  looks so many times from one process
#define _GNU_SOURCE
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_PORT 21115
#define PORTS 5

static int one_walk;
static int by_port;
static unsigned states = 0xfff;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

// port_filter writes "source port is one of PORTS" and returns its length in
// bytes. Each clause compares (two words); if it holds, a jump goes to the end,
// else to the next clause. Past the end means no.
static int port_filter(struct inet_diag_bc_op *op) {
	int total = PORTS * 2 + PORTS - 1, k = 0;
	for (int i = 0; i < PORTS; i++) {
		int last = i == PORTS - 1;
		op[k] = (struct inet_diag_bc_op){INET_DIAG_BC_S_EQ, 8, 12};
		op[k + 1] = (struct inet_diag_bc_op){0, 0, FIRST_PORT + i};
		k += 2;
		if (!last) {
			op[k] = (struct inet_diag_bc_op){INET_DIAG_BC_JMP, 4, (total - k) * 4};
			k++;
		}
	}
	return k * 4;
}

// request asks for the sockets of a family.
static void request(int fd, int family) {
	struct {
		struct nlmsghdr head;
		char body[512];
	} q;
	memset(&q, 0, sizeof q);
	q.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;

	int len;
	if (one_walk) {
		struct inet_diag_req *r = (void *)q.body;
		q.head.nlmsg_type = TCPDIAG_GETSOCK;
		r->idiag_family = AF_INET;
		r->idiag_states = states;
		len = sizeof *r;
	} else {
		struct inet_diag_req_v2 *r = (void *)q.body;
		q.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
		r->sdiag_family = family;
		r->sdiag_protocol = IPPROTO_TCP;
		r->idiag_states = states;
		len = sizeof *r;
	}
	if (by_port) {
		struct nlattr *a = (void *)(q.body + len);
		a->nla_type = INET_DIAG_REQ_BYTECODE;
		a->nla_len = sizeof *a + port_filter((void *)(a + 1));
		len += a->nla_len;
	}
	q.head.nlmsg_len = NLMSG_LENGTH(len);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (sendto(fd, &q, q.head.nlmsg_len, 0, (void *)&kernel, sizeof kernel) < 0)
		die("send");
}

// answers counts the sockets of one request. The kernel never sends more than
// 32 KB at once.
static long answers(int fd) {
	static char buf[32768];
	for (long n = 0;;) {
		int len = recv(fd, buf, sizeof buf, 0);
		if (len < 0)
			die("receive");
		struct nlmsghdr *h = (void *)buf;
		for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return n;
			if (h->nlmsg_type == NLMSG_ERROR) {
				fprintf(stderr, "netlink error %d\n", ((struct nlmsgerr *)NLMSG_DATA(h))->error);
				exit(1);
			}
			n++;
		}
	}
}

static long look(int fd) {
	request(fd, AF_INET);
	long n = answers(fd);
	if (!one_walk) {
		request(fd, AF_INET6);
		n += answers(fd);
	}
	return n;
}

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	int repeats = 1;
	for (int o; (o = getopt(argc, argv, "Cs:br:")) != -1;) {
		switch (o) {
		case 'C': one_walk = 1; break;
		case 's': states = strtoul(optarg, 0, 0); break;
		case 'b': by_port = 1; break;
		case 'r': repeats = atoi(optarg); break;
		default: return 2;
		}
	}
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		die("socket");
	double *took = calloc(repeats, sizeof *took);
	long n = 0;
	for (int i = 0; i < repeats; i++) {
		double began = now();
		n = look(fd);
		took[i] = now() - began;
	}
	qsort(took, repeats, sizeof *took, compare);
	printf("%ld %.0f %.0f\n", n, took[repeats / 2], took[0]);
	return 0;
}
