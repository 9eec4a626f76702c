package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// enterCommand starts this program again as a process of a container: already in the namespaces
// that a new process can be given, or in all of them when it joins a container that runs.
const enterCommand = "enter-container"

// plan is what the process is to be. It comes on file descriptor 3.
type plan struct {
	Joins            bool // a container that runs
	NetworkNamespace string
	Hostname         string
	Root             string // an empty directory on a tmpfs
	ReadOnlyRoot     bool
	Mounts           []mount
	Dir              string
	UID, GID         int
	Groups           []int
	Keep             []uintptr // capabilities
	NoNewPrivileges  bool
	Args, Env        []string
}

type mount struct {
	From, To string
	ReadOnly bool
	Open     bool // any user may pass through the directories above
}

// enter becomes the process of the plan; it returns only when it cannot.
func enter() error {
	runtime.LockOSThread()
	var p plan
	if err := json.NewDecoder(os.NewFile(3, "plan")).Decode(&p); err != nil {
		return err
	}
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if !p.Joins {
		if err := errors.Join(p.joinNetwork(), unix.Sethostname([]byte(p.Hostname))); err != nil {
			return err
		}
		if err := p.makeRoot(); err != nil {
			return err
		}
	}
	if err := p.dropPrivileges(); err != nil {
		return err
	}
	if err := os.Chdir(filepath.Join("/", p.Dir)); err != nil {
		return err
	}
	for _, entry := range p.Env {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	program, err := exec.LookPath(p.Args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, p.Args, p.Env)
}

func (p plan) joinNetwork() error {
	namespace, err := unix.Open("/run/netns/"+p.NetworkNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
		return err
	}
	// As other runtimes do: any user may listen on a low port of its own pod
	return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644)
}

// makeRoot lays an overlay over the machine's root, so that what a container writes is its own, and
// makes it the only tree that the container can see.
func (p plan) makeRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	upper, work, root := p.Root+"/upper", p.Root+"/work", p.Root+"/root"
	for _, dir := range []string{upper, work, root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	for _, m := range append([]mount{{From: "/dev", To: "/dev"}}, p.Mounts...) {
		if err := m.bind(root); err != nil {
			return err
		}
		if m.Open {
			if err := open(root, m.To); err != nil {
				return err
			}
		}
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if p.ReadOnlyRoot {
		if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("read-only root: %w", err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// open lets any user pass through the directories above a path, in the container's own root.
func open(root, path string) error {
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(root + dir)
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o1 == 0 {
			if err := os.Chmod(root+dir, mode|0o111); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m mount) bind(root string) error {
	to, err := securejoin.SecureJoin(root, m.To) // links such as /var/run lead to places in the container's root
	if err != nil {
		return err
	}
	info, err := os.Stat(m.From)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		var f *os.File
		if f, err = os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o644); err == nil {
			f.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", m.To, err)
	}
	if m.ReadOnly {
		return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

func (p plan) dropPrivileges() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(p.Keep, c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	for stream := range 3 { // as other runtimes do: /proc/1/fd/1 can be opened
		_ = unix.Fchown(stream, p.UID, -1)
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(p.Groups) },
		func() error { return syscall.Setgid(p.GID) },
		func() error { return syscall.Setuid(p.UID) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if p.NoNewPrivileges {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}
