// Package report has what a cycle found and did, as values with their JSON form.
//
// judge and act fill it in; news and the commands show it. It decides nothing.
package report
