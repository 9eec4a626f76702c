package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (r *engine) ListContainerStats(context.Context, *cri.ListContainerStatsRequest) (*cri.ListContainerStatsResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &cri.ListContainerStatsResponse{}
	for _, c := range r.containers {
		if c.status().State == cri.ContainerState_CONTAINER_RUNNING {
			answer.Stats = append(answer.Stats, c.stats())
		}
	}
	return answer, nil
}

func (r *engine) ContainerStats(_ context.Context, q *cri.ContainerStatsRequest) (*cri.ContainerStatsResponse, error) {
	c, err := r.find(q.ContainerId)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerStatsResponse{Stats: c.stats()}, nil
}

// stats tells processor time, and the memory that the processes hold themselves: pages of files are
// not counted.
func (c *container) stats() *cri.ContainerStats {
	now := time.Now().UnixNano()
	procs, _ := os.ReadFile(filepath.Join(c.group(), "cgroup.procs"))
	var memory uint64
	for _, pid := range strings.Fields(string(procs)) {
		status := "/proc/" + pid + "/status"
		memory += (field(status, "RssAnon:") + field(status, "RssShmem:")) << 10
	}
	return &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{Id: c.id, Metadata: c.config.Metadata, Labels: c.config.Labels, Annotations: c.config.Annotations},
		Cpu: &cri.CpuUsage{Timestamp: now,
			UsageCoreNanoSeconds: &cri.UInt64Value{Value: field(filepath.Join(c.group(), "cpu.stat"), "usage_usec") * 1000}},
		Memory: &cri.MemoryUsage{Timestamp: now, WorkingSetBytes: &cri.UInt64Value{Value: memory}, RssBytes: &cri.UInt64Value{Value: memory}},
		WritableLayer: &cri.FilesystemUsage{Timestamp: now, FsId: &cri.FilesystemIdentifier{Mountpoint: "/"},
			UsedBytes: &cri.UInt64Value{}, InodesUsed: &cri.UInt64Value{}},
	}
}

// field reads a number from a file of lines with a name and a number.
func field(path, name string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n
		}
	}
	return 0
}
