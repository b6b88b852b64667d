package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/collectors/containers"
	"sockwarden/collectors/netns"
)

// namespaceList is the value of --netns: several, with commas or by several flags. It is
// one string where it is shown.
type namespaceList struct{ values *[]string }

func (l namespaceList) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

// Set implements pflag.Value. What is empty stays, for whoever checks the values.
func (l namespaceList) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		name, err := namespaceOf(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		*l.values = append(*l.values, name)
	}
	return nil
}

func (namespaceList) Type() string { return "string" }

// namespaceOf makes a path of the number of a process. Where namespaces have numbers for
// names, a number is a name: if that one is gone, that of a process must not stand in
// for it; nor must our own ever.
func namespaceOf(name string) (string, error) {
	pid, err := strconv.Atoi(name)
	if err != nil || pid < 1 || strings.Trim(name, "0123456789") != "" {
		return name, nil //nolint:nilerr // it is no number, but a name
	}
	path := netns.OfProcess(pid)
	if _, err := os.Lstat(path); err != nil {
		return name, nil //nolint:nilerr // said as of a name
	}
	all, err := netns.List()
	if err != nil {
		return name, nil //nolint:nilerr // said by the look
	}
	isNumber := func(n string) bool { return n != "" && strings.Trim(n, "0123456789") == "" }
	if slices.ContainsFunc(all, func(h netns.Handle) bool { return isNumber(h.Name) || slices.ContainsFunc(h.Others, isNumber) }) {
		return name, nil
	}
	if found, err := netns.Select(path); err == nil && found[0].Name == netns.HostName {
		return "", fmt.Errorf("process %d is in the namespace of this one: if you mean that, write --netns host", pid) //nolint:err113 // for people
	}
	return path, nil
}

// completeNetNS completes the last of several with commas between: names of namespaces
// and of the containers that run.
func completeNetNS(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	before := toComplete[:strings.LastIndex(toComplete, ",")+1]
	names := []string{"all\tevery network namespace"}
	if all, err := netns.List(); err == nil {
		for _, h := range all {
			names = append(append(names, h.Name), h.Others...)
		}
	}
	running, _ := containers.New(containers.Options{Places: containers.Host()}).Running(cmd.Context())
	for i := range running {
		names = append(names, running[i].Name+"\tcontainer of "+running[i].Image)
	}
	for i := range names {
		names[i] = before + names[i]
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
