// Package metrics says in Prometheus's format what a watcher does and how many sockets
// there are.
//
// Comes in: news of cycles, the board of a watcher, and censuses of sockets. Goes out:
// metrics over HTTP, with health and readiness, or in a file for node_exporter's textfile
// collector. Whoever scrapes reads what is there or waits for a census: no cycle waits for
// a scrape.
package metrics
