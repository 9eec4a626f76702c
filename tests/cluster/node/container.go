package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// container is one run of a container: a kubelet makes a new one for each restart.
type container struct {
	id, log string
	engine  *engine
	sandbox *sandbox
	config  *cri.ContainerConfig
	image   image
	created int64
	done    chan struct{} // closed when the process has ended and its output is written

	mu                sync.Mutex
	state             cri.ContainerState
	process           *os.Process
	output            *logFile
	started, finished int64
	exit              int32
}

func (r *engine) CreateContainer(_ context.Context, q *cri.CreateContainerRequest) (*cri.CreateContainerResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[q.PodSandboxId]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no sandbox %s", q.PodSandboxId)
	}
	found, err := r.images.find(q.Config.GetImage().GetImage())
	if err != nil {
		return nil, err
	}
	c := &container{id: newID(), engine: r, sandbox: s, config: q.Config, image: found, created: time.Now().UnixNano(),
		log: filepath.Join(s.config.LogDirectory, q.Config.LogPath), done: make(chan struct{})}
	r.containers[c.id] = c
	return &cri.CreateContainerResponse{ContainerId: c.id}, nil
}

func (r *engine) find(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		return c, nil
	}
	return nil, status.Errorf(codes.NotFound, "no container %s", id)
}

func (r *engine) StartContainer(_ context.Context, q *cri.StartContainerRequest) (*cri.StartContainerResponse, error) {
	c, err := r.find(q.ContainerId)
	if err != nil {
		return nil, err
	}
	if c.output, err = openLog(c.log); err != nil {
		return nil, err
	}
	cmd, err := c.start()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.state, c.process, c.started = cri.ContainerState_CONTAINER_RUNNING, cmd.Process, time.Now().UnixNano()
	c.mu.Unlock()
	go func() {
		_ = cmd.Wait() // returns when both streams are read to their ends
		cmd.Stdout.(*logStream).end()
		cmd.Stderr.(*logStream).end()
		c.output.close()
		how := cmd.ProcessState.Sys().(syscall.WaitStatus)
		c.mu.Lock()
		c.state, c.process, c.finished = cri.ContainerState_CONTAINER_EXITED, nil, time.Now().UnixNano()
		if c.exit = int32(how.ExitStatus()); how.Signaled() {
			c.exit = 128 + int32(how.Signal())
		}
		c.mu.Unlock()
		close(c.done)
	}()
	return &cri.StartContainerResponse{}, nil
}

// end asks the process to end, kills it after the grace, and returns when it is gone. The first
// process of a PID namespace takes all others with it.
func (c *container) end(grace time.Duration) {
	if grace > 0 && c.signal(syscall.SIGTERM) {
		select {
		case <-c.done:
		case <-time.After(grace):
		}
	}
	if c.signal(syscall.SIGKILL) {
		<-c.done
	}
}

func (c *container) signal(s os.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process != nil && c.process.Signal(s) == nil
}

func (r *engine) StopContainer(_ context.Context, q *cri.StopContainerRequest) (*cri.StopContainerResponse, error) {
	if c, err := r.find(q.ContainerId); err == nil {
		c.end(time.Duration(q.Timeout) * time.Second)
	}
	return &cri.StopContainerResponse{}, nil
}

func (r *engine) RemoveContainer(ctx context.Context, q *cri.RemoveContainerRequest) (*cri.RemoveContainerResponse, error) {
	c, err := r.find(q.ContainerId)
	if err != nil {
		return &cri.RemoveContainerResponse{}, nil
	}
	c.end(0)
	r.mu.Lock()
	delete(r.containers, c.id)
	r.mu.Unlock()
	_ = os.Remove(c.group())
	return &cri.RemoveContainerResponse{}, os.RemoveAll(r.path(c.id))
}

func (r *engine) ListContainers(_ context.Context, q *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, answer := q.GetFilter(), &cri.ListContainersResponse{}
	for _, c := range r.containers {
		s := c.status()
		if f.GetId() != "" && f.Id != c.id || f.GetPodSandboxId() != "" && f.PodSandboxId != c.sandbox.id ||
			f.GetState() != nil && f.State.State != s.State || !has(s.Labels, f.GetLabelSelector()) {
			continue
		}
		answer.Containers = append(answer.Containers, &cri.Container{Id: c.id, PodSandboxId: c.sandbox.id, Metadata: s.Metadata,
			Image: s.Image, ImageRef: s.ImageRef, ImageId: s.ImageId, State: s.State, CreatedAt: s.CreatedAt,
			Labels: s.Labels, Annotations: s.Annotations})
	}
	return answer, nil
}

func (r *engine) ContainerStatus(_ context.Context, q *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	c, err := r.find(q.ContainerId)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerStatusResponse{Status: c.status()}, nil
}

func (c *container) status() *cri.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &cri.ContainerStatus{
		Id: c.id, Metadata: c.config.Metadata, State: c.state, CreatedAt: c.created, StartedAt: c.started, FinishedAt: c.finished,
		ExitCode: c.exit, Image: &cri.ImageSpec{Image: c.image.name}, ImageRef: c.image.id, ImageId: c.image.id,
		Labels: c.config.Labels, Annotations: c.config.Annotations, Mounts: c.config.Mounts, LogPath: c.log,
	}
	if c.state == cri.ContainerState_CONTAINER_EXITED {
		if s.Reason = "Completed"; c.exit != 0 {
			s.Reason = "Error"
		}
	}
	return s
}

func (r *engine) UpdateContainerResources(context.Context, *cri.UpdateContainerResourcesRequest) (*cri.UpdateContainerResourcesResponse, error) {
	return &cri.UpdateContainerResourcesResponse{}, nil // limits are not enforced
}

func (r *engine) ReopenContainerLog(_ context.Context, q *cri.ReopenContainerLogRequest) (*cri.ReopenContainerLogResponse, error) {
	c, err := r.find(q.ContainerId)
	if err == nil {
		err = c.output.reopen()
	}
	return &cri.ReopenContainerLogResponse{}, err
}
