package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
)

// network gives each pod a network namespace with one routed address. There is no bridge: traffic
// between two pods passes the forward hook, where policies apply.
type network struct {
	gateway netip.Addr
	cidr    netip.Prefix
	mu      sync.Mutex
	used    map[netip.Addr]bool
	last    netip.Addr
}

func newNetwork(gateway netip.Addr, cidr netip.Prefix) *network {
	return &network{gateway: gateway, cidr: cidr, used: map[netip.Addr]bool{gateway: true}, last: gateway}
}

// take chooses an address: not one that was given back lately.
func (n *network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.last
	for range 1 << (32 - n.cidr.Bits()) {
		if a = a.Next(); !n.cidr.Contains(a) {
			a = n.cidr.Addr().Next()
		}
		if !n.used[a] {
			n.used[a], n.last = true, a
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address left in %s", n.cidr)
}

func veth(address netip.Addr) string { return "v" + strings.ReplaceAll(address.String(), ".", "") }

// add makes a network namespace, and a pair of interfaces that leads to it.
func (n *network) add(namespace string) (netip.Addr, error) {
	address, err := n.take()
	if err != nil {
		return address, err
	}
	outside := veth(address)
	err = feed("ip", []string{"-batch", "-"},
		"netns add "+namespace,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", outside, namespace),
		fmt.Sprintf("addr add %s/32 dev %s", n.gateway, outside),
		fmt.Sprintf("link set %s up", outside),
		fmt.Sprintf("route add %s/32 dev %s", address, outside),
	)
	if err == nil {
		err = feed("ip", []string{"-n", namespace, "-batch", "-"},
			"link set lo up",
			fmt.Sprintf("addr add %s/32 dev eth0", address),
			"link set eth0 up",
			fmt.Sprintf("route add %s dev eth0 scope link", n.gateway),
			fmt.Sprintf("route add default via %s", n.gateway),
		)
	}
	if err != nil {
		n.remove(namespace, address)
	}
	return address, err
}

func (n *network) remove(namespace string, address netip.Addr) {
	_ = feed("ip", []string{"-batch", "-"}, "link del "+veth(address))
	_ = feed("ip", []string{"-batch", "-"}, "netns del "+namespace)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, address)
}

// feed runs a command with lines on its standard input.
func feed(name string, args []string, lines ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
