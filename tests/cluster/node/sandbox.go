package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
)

// engine knows the pods and containers of one node. They live no longer than it does.
type engine struct {
	cri.UnimplementedRuntimeServiceServer
	images        catalogue
	network       *network
	firewall      *firewall
	streams       streaming.Server
	state, cgroup string

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
}

// sandbox is what the containers of a pod share.
type sandbox struct {
	id      string
	config  *cri.PodSandboxConfig
	created int64
	address netip.Addr
	state   cri.PodSandboxState
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (r *engine) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: "processes", RuntimeVersion: "1.0.0", RuntimeApiVersion: "v1"}, nil
}

func (r *engine) Status(context.Context, *cri.StatusRequest) (*cri.StatusResponse, error) {
	return &cri.StatusResponse{Status: &cri.RuntimeStatus{Conditions: []*cri.RuntimeCondition{
		{Type: cri.RuntimeReady, Status: true}, {Type: cri.NetworkReady, Status: true}}}}, nil
}

func (r *engine) RuntimeConfig(context.Context, *cri.RuntimeConfigRequest) (*cri.RuntimeConfigResponse, error) {
	return &cri.RuntimeConfigResponse{Linux: &cri.LinuxRuntimeConfiguration{CgroupDriver: cri.CgroupDriver_CGROUPFS}}, nil
}

func (r *engine) UpdateRuntimeConfig(context.Context, *cri.UpdateRuntimeConfigRequest) (*cri.UpdateRuntimeConfigResponse, error) {
	return &cri.UpdateRuntimeConfigResponse{}, nil
}

// RunPodSandbox gives a pod its network; it returns when the policies over its address are in force.
func (r *engine) RunPodSandbox(ctx context.Context, q *cri.RunPodSandboxRequest) (*cri.RunPodSandboxResponse, error) {
	config := q.Config
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == cri.NamespaceMode_NODE {
		return nil, status.Error(codes.Unimplemented, "the test cluster has no pods in the host's network")
	}
	s := &sandbox{id: newID(), config: config, created: time.Now().UnixNano()}
	if err := os.MkdirAll(r.path(s.id), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.path(s.id, "resolv.conf"), resolver(config.GetDnsConfig()), 0o644); err != nil {
		return nil, err
	}
	address, err := r.network.add(s.id)
	if err != nil {
		return nil, err
	}
	s.address = address
	if err := r.firewall.admit(ctx, config.GetMetadata().GetUid(), address.String()); err != nil {
		r.network.remove(s.id, address)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxes[s.id] = s
	return &cri.RunPodSandboxResponse{PodSandboxId: s.id}, nil
}

func (r *engine) path(parts ...string) string {
	return filepath.Join(append([]string{r.state}, parts...)...)
}

func resolver(d *cri.DNSConfig) []byte {
	var lines strings.Builder
	for _, server := range d.GetServers() {
		fmt.Fprintln(&lines, "nameserver", server)
	}
	if len(d.GetSearches()) > 0 {
		fmt.Fprintln(&lines, "search", strings.Join(d.GetSearches(), " "))
	}
	if len(d.GetOptions()) > 0 {
		fmt.Fprintln(&lines, "options", strings.Join(d.GetOptions(), " "))
	}
	return []byte(lines.String())
}

// StopPodSandbox ends what runs of a pod and takes its network away; it may be asked again.
func (r *engine) StopPodSandbox(_ context.Context, q *cri.StopPodSandboxRequest) (*cri.StopPodSandboxResponse, error) {
	for _, c := range r.within(q.PodSandboxId) {
		c.end(0)
	}
	r.mu.Lock()
	s := r.sandboxes[q.PodSandboxId]
	stop := s != nil && s.state == cri.PodSandboxState_SANDBOX_READY
	if stop {
		s.state = cri.PodSandboxState_SANDBOX_NOTREADY
	}
	r.mu.Unlock()
	if stop {
		r.firewall.forget(s.config.GetMetadata().GetUid())
		r.network.remove(s.id, s.address)
	}
	return &cri.StopPodSandboxResponse{}, nil
}

func (r *engine) RemovePodSandbox(ctx context.Context, q *cri.RemovePodSandboxRequest) (*cri.RemovePodSandboxResponse, error) {
	_, _ = r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: q.PodSandboxId})
	for _, c := range r.within(q.PodSandboxId) {
		_, _ = r.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.id})
	}
	r.mu.Lock()
	delete(r.sandboxes, q.PodSandboxId)
	r.mu.Unlock()
	return &cri.RemovePodSandboxResponse{}, os.RemoveAll(r.path(q.PodSandboxId))
}

func (r *engine) PodSandboxStatus(_ context.Context, q *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[q.PodSandboxId]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no sandbox %s", q.PodSandboxId)
	}
	c := s.config
	return &cri.PodSandboxStatusResponse{Status: &cri.PodSandboxStatus{
		Id: s.id, Metadata: c.Metadata, State: s.state, CreatedAt: s.created, Labels: c.Labels, Annotations: c.Annotations,
		Network: &cri.PodSandboxNetworkStatus{Ip: s.address.String()},
		Linux:   &cri.LinuxPodSandboxStatus{Namespaces: &cri.Namespace{Options: c.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}}, nil
}

func (r *engine) ListPodSandbox(_ context.Context, q *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, answer := q.GetFilter(), &cri.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		if f.GetId() != "" && f.Id != s.id || f.GetState() != nil && f.State.State != s.state || !has(s.config.Labels, f.GetLabelSelector()) {
			continue
		}
		answer.Items = append(answer.Items, &cri.PodSandbox{Id: s.id, Metadata: s.config.Metadata, State: s.state,
			CreatedAt: s.created, Labels: s.config.Labels, Annotations: s.config.Annotations})
	}
	return answer, nil
}

func has(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// within lists the containers of a sandbox.
func (r *engine) within(id string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*container
	for _, c := range r.containers {
		if c.sandbox.id == id {
			all = append(all, c)
		}
	}
	return all
}
