// Package procnet reads /proc/net as a source of records for listing, where netlink is
// refused.
//
// Comes in: the namespace and the text of its files. Goes out: records without a cookie,
// so nobody acts on them.
package procnet
