// Package procnet reads /proc/net, where netlink is refused, as a source of records
// for listing.
//
// Comes in: the namespace and the text of its files. Goes out: records without a
// cookie, so nothing that it finds is acted on.
package procnet
