package main

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// servicesFile names ports (services(5)), and servicesLimit bounds what is read of it,
// in bytes: IANA's list has a megabyte.
const (
	servicesFile  = "/etc/services"
	servicesLimit = 4 << 20
)

// services are names of ports, each with those of TCP and UDP that it stands for.
type services map[string][]uint16

// wellKnown are the names where there is no such file, as in small images.
const wellKnown = `
ssh 22/tcp
smtp 25/tcp
domain 53/tcp
http 80/tcp
ntp 123/udp
ldap 389/tcp
https 443/tcp
imaps 993/tcp
mysql 3306/tcp
postgresql 5432/tcp
`

// hostServices reads the names that this host has.
func hostServices() services {
	f, err := os.Open(servicesFile)
	if err != nil {
		return readServices(strings.NewReader(wellKnown))
	}
	defer func() { _ = f.Close() }()
	return readServices(io.LimitReader(f, servicesLimit))
}

// readServices reads lines such as "http 80/tcp www # comment". What is no such line is
// left out, as by everybody who reads that file.
func readServices(r io.Reader) services {
	all := services{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol != "tcp" && protocol != "udp" {
			continue
		}
		for _, name := range append(words[2:], words[0]) {
			if !slices.Contains(all[name], uint16(port)) {
				all[name] = append(all[name], uint16(port))
			}
		}
	}
	return all
}

// list is the ports of a service as a condition has them, "" for an unknown name.
func (s services) list(name string) string {
	ports := s[name]
	if ports == nil {
		ports = s[strings.ToLower(name)]
	}
	if ports == nil {
		return ""
	}
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(int(p))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
