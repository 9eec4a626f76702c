package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// usual are the capabilities that a container keeps unless it drops them: other runtimes' choice.
var usual = map[string]uintptr{"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
	"SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18, "MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}

// plan says what a process of a container is to be.
func (c *container) plan() (plan, error) {
	o, security := c.config, c.config.GetLinux().GetSecurityContext()
	p := plan{
		NetworkNamespace: c.sandbox.id, Hostname: c.sandbox.config.Hostname, Root: c.engine.path(c.id), Dir: o.WorkingDir,
		ReadOnlyRoot: security.GetReadonlyRootfs(), NoNewPrivileges: security.GetNoNewPrivs(),
		UID: int(security.GetRunAsUser().GetValue()), GID: int(security.GetRunAsGroup().GetValue()),
		Keep: kept(security), Mounts: []mount{{From: c.engine.path(c.sandbox.id, "resolv.conf"), To: "/etc/resolv.conf", ReadOnly: true}},
	}
	for _, g := range security.GetSupplementalGroups() {
		p.Groups = append(p.Groups, int(g))
	}
	for _, m := range c.image.Mounts {
		p.Mounts = append(p.Mounts, mount{From: m.From, To: m.To, ReadOnly: true, Open: true})
	}
	for _, m := range o.Mounts {
		p.Mounts = append(p.Mounts, mount{From: m.HostPath, To: m.ContainerPath, ReadOnly: m.Readonly})
	}
	if p.Args = slices.Clone(o.Command); len(p.Args) == 0 {
		p.Args = slices.Clone(c.image.Entrypoint)
	}
	if p.Args = append(p.Args, o.Args...); len(p.Args) == 0 {
		return p, errors.New("neither the image nor the pod names a command")
	}
	if p.Dir == "" {
		p.Dir = c.image.Dir
	}
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "HOSTNAME": p.Hostname}
	maps.Copy(env, c.image.Env)
	for _, e := range o.Envs {
		env[e.Key] = e.Value
	}
	for k, v := range env {
		p.Env = append(p.Env, k+"="+v)
	}
	return p, nil
}

// kept are the numbers of the capabilities that the container may have.
func kept(s *cri.LinuxContainerSecurityContext) []uintptr {
	keep := maps.Clone(usual)
	for _, name := range s.GetCapabilities().GetDropCapabilities() {
		if delete(keep, name); name == "ALL" {
			keep = map[string]uintptr{}
		}
	}
	for _, name := range s.GetCapabilities().GetAddCapabilities() {
		if number, ok := usual[name]; ok {
			keep[name] = number
		}
	}
	return slices.Collect(maps.Values(keep))
}

// group is the container's control group: it counts processor time and knows the processes.
func (c *container) group() string { return filepath.Join(c.engine.cgroup, c.id) }

// start begins the container's first process.
func (c *container) start() (*exec.Cmd, error) {
	p, err := c.plan()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{c.engine.path(c.id), c.group()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("/proc/self/exe", enterCommand)
	cmd.Stdout, cmd.Stderr = &logStream{logFile: c.output, name: "stdout"}, &logStream{logFile: c.output, name: "stderr"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	return cmd, c.launch(cmd, p)
}

// inside prepares a further process in a running container.
func (c *container) inside(ctx context.Context, command []string) (*exec.Cmd, plan, error) {
	p, err := c.plan()
	if err != nil {
		return nil, p, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil, p, status.Errorf(codes.FailedPrecondition, "container %s is not running", c.config.GetMetadata().GetName())
	}
	p.Args, p.Joins = command, true
	// This program by an open file: its path may not exist in the container's root
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, p, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(c.process.Pid), "--net", "--mount", "--pid", "--ipc", "--uts",
		"--root", "--", "/proc/self/fd/4", enterCommand)
	cmd.ExtraFiles = []*os.File{nil, self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // nsenter's child as well
	return cmd, p, nil
}

// launch starts a command in the container's control group and hands it the plan on descriptor 3.
func (c *container) launch(cmd *exec.Cmd, p plan) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	defer writer.Close()
	group, err := os.Open(c.group())
	if err != nil {
		return err
	}
	defer group.Close()
	if len(cmd.ExtraFiles) == 0 {
		cmd.ExtraFiles = []*os.File{nil}
	}
	cmd.ExtraFiles[0] = reader
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = writer.Write(text)
	return err
}
