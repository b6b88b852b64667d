// Package report has what a cycle found and did, as values with their JSON.
//
// It is made by judge and act, and shown by news and by the commands. It decides nothing.
package report
