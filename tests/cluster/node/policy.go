package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// world is what the rules follow from: all pods that have an address, and all policies.
type world struct {
	node     string
	spaces   map[string]labels.Set
	pods     []placed
	policies []*networking.NetworkPolicy
}

// placed is a pod with its address.
type placed struct {
	*core.Pod
	address string
}

// place finds each pod's address: this node knows its own, the API server tells the others'.
func (w *world) place(pods []*core.Pod, local map[string]string) {
	for _, p := range pods {
		address := p.Status.PodIP
		if p.Spec.NodeName == w.node {
			address = local[string(p.UID)]
		}
		if address != "" && p.Status.Phase != core.PodSucceeded && p.Status.Phase != core.PodFailed {
			w.pods = append(w.pods, placed{p, address})
		}
	}
	slices.SortFunc(w.pods, func(a, b placed) int { return strings.Compare(string(a.UID), string(b.UID)) })
	slices.SortFunc(w.policies, func(a, b *networking.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}

// rules is the whole table, in nftables' words. A pod that no policy selects is free; one that some
// select may do what any of them allows.
func (w world) rules() string {
	var jumps, chains strings.Builder
	var self []string
	for _, pod := range w.pods {
		if pod.Spec.NodeName != w.node {
			continue
		}
		self = append(self, pod.address+" . "+pod.address)
		for _, direction := range []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress} {
			match := map[networking.PolicyType]string{"Ingress": "daddr", "Egress": "saddr"}[direction]
			lines, selected := w.forPod(pod, direction)
			if !selected {
				continue
			}
			name := fmt.Sprintf("%s-%s", direction, pod.UID)
			fmt.Fprintf(&jumps, "    ip %s %s jump %s\n", match, pod.address, name)
			fmt.Fprintf(&chains, "  chain %s {\n%s    counter drop\n  }\n", name, strings.Join(lines, ""))
		}
	}
	table := "policy-" + w.node
	var out strings.Builder
	fmt.Fprintf(&out, "table ip %[1]s\ndelete table ip %[1]s\ntable ip %[1]s {\n%[2]s", table, chains.String())
	out.WriteString(hairpin(self))
	for _, hook := range []string{"forward", "input"} { // input: from pods to this node's own addresses
		fmt.Fprintf(&out, "  chain %[1]s {\n    type filter hook %[1]s priority filter; policy accept;\n"+
			"    ct state established,related accept\n    ip saddr . ip daddr @self accept\n%[2]s  }\n", hook, jumps.String())
	}
	return out.String() + "}\n"
}

// hairpin lets a pod reach itself through a service: no policy forbids that, and the reply must come
// back by way of the node. kube-proxy does it for the pods of one node, and here nodes share its tables.
func hairpin(pairs []string) string {
	elements := ""
	if len(pairs) > 0 {
		elements = fmt.Sprintf("    elements = { %s }\n", strings.Join(pairs, ", "))
	}
	return "  set self {\n    type ipv4_addr . ipv4_addr\n" + elements + "  }\n" +
		"  chain self {\n    type nat hook postrouting priority srcnat; policy accept;\n" +
		"    ct status dnat ip saddr . ip daddr @self masquerade\n  }\n"
}

// forPod says what the policies that select a pod allow in one direction.
func (w world) forPod(pod placed, direction networking.PolicyType) (lines []string, selected bool) {
	for _, policy := range w.policies {
		s := policy.Spec
		if policy.Namespace != pod.Namespace || !matches(&s.PodSelector, pod.Labels) || !slices.Contains(s.PolicyTypes, direction) {
			continue // the API server fills the types in that a policy leaves out
		}
		selected = true
		if direction == networking.PolicyTypeIngress {
			for _, r := range s.Ingress {
				lines = append(lines, w.allow(policy.Namespace, "saddr", r.From, r.Ports, []placed{pod})...)
			}
			continue
		}
		for _, r := range s.Egress {
			lines = append(lines, w.allow(policy.Namespace, "daddr", r.To, r.Ports, nil)...)
		}
	}
	return lines, selected
}

// allow is one rule of a policy: any of the peers, on any of the ports. Named ports are those of the
// pods that receive: the receivers, or where there are none the peers themselves.
func (w world) allow(namespace, side string, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort, receivers []placed) []string {
	var out []string
	add := func(match string, receivers []placed) {
		for _, port := range portMatches(ports, receivers) {
			out = append(out, fmt.Sprintf("    %s %s return\n", match, port))
		}
	}
	if len(peers) == 0 {
		add("", receivers)
	}
	for _, peer := range peers {
		if block := peer.IPBlock; block != nil {
			prefix, err := netip.ParsePrefix(block.CIDR)
			if err != nil || !prefix.Addr().Is4() {
				continue
			}
			match := fmt.Sprintf("ip %s %s", side, block.CIDR)
			if len(block.Except) > 0 {
				match += fmt.Sprintf(" ip %s != { %s }", side, strings.Join(block.Except, ", "))
			}
			add(match, receivers)
			continue
		}
		for _, p := range w.pods {
			if !w.chosen(namespace, peer, p) {
				continue
			}
			to := receivers
			if to == nil {
				to = []placed{p}
			}
			add(fmt.Sprintf("ip %s %s", side, p.address), to)
		}
	}
	return out
}

func (w world) chosen(namespace string, peer networking.NetworkPolicyPeer, p placed) bool {
	if peer.NamespaceSelector == nil && p.Namespace != namespace {
		return false
	}
	if peer.NamespaceSelector != nil && !matches(peer.NamespaceSelector, w.spaces[p.Namespace]) {
		return false
	}
	return peer.PodSelector == nil || matches(peer.PodSelector, p.Labels)
}

// portMatches says each port in nftables' words; no port at all means every port.
func portMatches(ports []networking.NetworkPolicyPort, receivers []placed) []string {
	if len(ports) == 0 {
		return []string{""}
	}
	var out []string
	for _, port := range ports {
		protocol := strings.ToLower(string(*port.Protocol)) // the API server fills TCP in
		switch {
		case port.Port == nil:
			out = append(out, "meta l4proto "+protocol)
		case port.Port.Type == intstr.Int && port.EndPort != nil:
			out = append(out, fmt.Sprintf("%s dport %d-%d", protocol, port.Port.IntVal, *port.EndPort))
		case port.Port.Type == intstr.Int:
			out = append(out, fmt.Sprintf("%s dport %d", protocol, port.Port.IntVal))
		default:
			for _, p := range receivers {
				for _, number := range named(p, port.Port.StrVal, protocol) {
					out = append(out, fmt.Sprintf("%s dport %d", protocol, number))
				}
			}
		}
	}
	return out
}

func named(p placed, name, protocol string) []int32 {
	var numbers []int32
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if port.Name == name && strings.EqualFold(string(port.Protocol), protocol) {
				numbers = append(numbers, port.ContainerPort)
			}
		}
	}
	return numbers
}

func matches(selector *meta.LabelSelector, set labels.Set) bool {
	s, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(set)
}
