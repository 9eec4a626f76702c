package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func pod(name, node, ip string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name, Namespace: "a", UID: types.UID(name), Labels: map[string]string{"app": name}},
		Spec: core.PodSpec{NodeName: node, Containers: []core.Container{{Ports: []core.ContainerPort{
			{Name: "http", ContainerPort: 8080, Protocol: "TCP"}}}}},
		Status: core.PodStatus{PodIP: ip, Phase: core.PodRunning},
	}
}

func selected(name string) meta.LabelSelector {
	return meta.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func TestARuleNamesThePeersAndTheirPorts(t *testing.T) {
	tcp, here, there := core.ProtocolTCP, selected("here"), selected("there")
	w := world{node: "n1", spaces: map[string]labels.Set{"a": {}}, policies: []*networking.NetworkPolicy{{
		ObjectMeta: meta.ObjectMeta{Name: "p", Namespace: "a"},
		Spec: networking.NetworkPolicySpec{PodSelector: here, PolicyTypes: []networking.PolicyType{"Ingress", "Egress"},
			Egress: []networking.NetworkPolicyEgressRule{
				{To: []networking.NetworkPolicyPeer{{PodSelector: &there}},
					Ports: []networking.NetworkPolicyPort{{Protocol: &tcp, Port: &intstr.IntOrString{Type: intstr.String, StrVal: "http"}}}},
				{To: []networking.NetworkPolicyPeer{{IPBlock: &networking.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}}},
			}},
	}}}
	// The API server tells an old address of the pod that this node has started anew
	w.place([]*core.Pod{pod("here", "n1", "10.9.9.9"), pod("there", "n2", "10.2.0.2"), pod("away", "n1", "10.3.0.3")},
		map[string]string{"here": "10.1.0.1"})
	rules := regexp.MustCompile(` +`).ReplaceAllString(w.rules(), " ")
	for _, wanted := range []string{
		"ip saddr 10.1.0.1 jump Egress-here", "ip daddr 10.1.0.1 jump Ingress-here",
		"chain Ingress-here {\n counter drop\n }",
		"chain Egress-here {\n ip daddr 10.2.0.2 tcp dport 8080 return\n ip daddr 10.0.0.0/8 ip daddr != { 10.1.0.0/16 } return\n counter drop\n }",
		"elements = { 10.1.0.1 . 10.1.0.1 }",
	} {
		if !strings.Contains(rules, wanted) {
			t.Errorf("%q is not in\n%s", wanted, rules)
		}
	}
	for _, unwanted := range []string{"10.9.9.9", "10.3.0.3"} {
		if strings.Contains(rules, unwanted) {
			t.Errorf("%s is in\n%s", unwanted, rules)
		}
	}
}

func TestTheCatalogueIsReadAnew(t *testing.T) {
	c := catalogue(t.TempDir())
	if _, err := c.find("a/b:1"); err == nil {
		t.Fatal("found what is not there")
	}
	if err := os.WriteFile(filepath.Join(string(c), "a%b:1.json"), []byte(`{"entrypoint": ["x"], "mounts": [{"from": "/f", "to": "/t"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := c.find("a/b:1")
	if err != nil || found.Mounts[0].To != "/t" {
		t.Fatal(found, err)
	}
	if again, err := c.find(found.id); err != nil || again.name != "a/b:1" {
		t.Fatal(again, err)
	}
}

func TestCapabilitiesAreDroppedAndGivenBack(t *testing.T) {
	for _, c := range []struct {
		drop, add []string
		left      int
	}{{nil, nil, len(usual)}, {[]string{"ALL"}, nil, 0}, {[]string{"ALL"}, []string{"NET_BIND_SERVICE", "SYS_ADMIN"}, 1}, {[]string{"CHOWN"}, nil, len(usual) - 1}} {
		s := &cri.LinuxContainerSecurityContext{Capabilities: &cri.Capability{DropCapabilities: c.drop, AddCapabilities: c.add}}
		if left := kept(s); len(left) != c.left {
			t.Errorf("drop %v, add %v: %v", c.drop, c.add, left)
		}
	}
}

func TestALogTellsTimeStreamAndWhetherALineIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod", "0.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	out, failures := &logStream{logFile: l, name: "stdout"}, &logStream{logFile: l, name: "stderr"}
	for _, part := range []string{"one\ntw", "o"} {
		if n, err := out.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = failures.Write([]byte("between\n"))
	_, _ = failures.Write(bytes.Repeat([]byte("x"), longest+1))
	out.end()
	l.close()
	written, _ := os.ReadFile(path)
	told := regexp.MustCompile(`(?m)^\S+Z `).ReplaceAllString(string(written), "")
	if told != "stdout F one\nstderr F between\nstderr P "+strings.Repeat("x", longest+1)+"\nstdout F two\n" {
		t.Fatalf("%q", told)
	}
}
