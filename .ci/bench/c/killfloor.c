// killfloor: the least that destroying every socket in CLOSE_WAIT costs: it asks
// for them, and sends SOCK_DESTROY for each, 64 in one message. Success is not
// acknowledged; errors come back by themselves. It prints how many there were
// and how many could not be destroyed.
#define _GNU_SOURCE
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define CLOSE_WAIT_MASK 0x100

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static struct request *victims;
static long count, capacity;

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void add(const struct inet_diag_msg *m) {
	if (count == capacity) {
		capacity = capacity ? capacity * 2 : 4096;
		victims = realloc(victims, capacity * sizeof *victims);
		if (!victims)
			die("memory");
	}
	struct request *q = &victims[count++];
	memset(q, 0, sizeof *q);
	q->head.nlmsg_len = sizeof *q;
	q->head.nlmsg_type = SOCK_DESTROY;
	q->head.nlmsg_flags = NLM_F_REQUEST;
	q->body.sdiag_family = m->idiag_family;
	q->body.sdiag_protocol = IPPROTO_TCP;
	q->body.idiag_states = ~0u;
	q->body.id = m->id;
}

static void find(int fd, int family) {
	struct request q;
	memset(&q, 0, sizeof q);
	q.head.nlmsg_len = sizeof q;
	q.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	q.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	q.body.sdiag_family = family;
	q.body.sdiag_protocol = IPPROTO_TCP;
	q.body.idiag_states = CLOSE_WAIT_MASK;
	if (send(fd, &q, sizeof q, 0) < 0)
		die("send");
	for (;;) {
		static char buf[32768];
		int len = recv(fd, buf, sizeof buf, 0);
		if (len < 0)
			die("receive");
		struct nlmsghdr *h = (void *)buf;
		for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return;
			if (h->nlmsg_type == NLMSG_ERROR)
				exit(1);
			add(NLMSG_DATA(h));
		}
	}
}

// errors reads what has come back without waiting.
static long errors(int fd) {
	static char buf[65536];
	long n = 0;
	for (int len; (len = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0;) {
		struct nlmsghdr *h = (void *)buf;
		for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len))
			n += h->nlmsg_type == NLMSG_ERROR;
	}
	return n;
}

int main(void) {
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	if (fd < 0)
		die("socket");
	find(fd, AF_INET);
	find(fd, AF_INET6);
	long failed = 0;
	for (long i = 0; i < count; i += BATCH) {
		long n = count - i < BATCH ? count - i : BATCH;
		if (send(fd, &victims[i], n * sizeof *victims, 0) < 0)
			die("send");
		failed += errors(fd);
	}
	printf("%ld %ld\n", count, failed);
	return 0;
}
