package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"time"

	"github.com/creack/pty"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// ExecSync runs a probe or a hook and returns what it said.
func (r *engine) ExecSync(ctx context.Context, q *cri.ExecSyncRequest) (*cri.ExecSyncResponse, error) {
	if q.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(q.Timeout)*time.Second)
		defer cancel()
	}
	var out, errors bytes.Buffer
	code, err := r.exec(ctx, q.ContainerId, q.Cmd, nil, &out, &errors, nil)
	if ctx.Err() != nil {
		return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out", q.Cmd)
	}
	return &cri.ExecSyncResponse{Stdout: out.Bytes(), Stderr: errors.Bytes(), ExitCode: int32(code)}, err
}

func (r *engine) Exec(_ context.Context, q *cri.ExecRequest) (*cri.ExecResponse, error) {
	return r.streams.GetExec(q)
}

// exec runs a command in a container, on a terminal if sizes of one may come, and returns its exit code.
func (r *engine) exec(ctx context.Context, id string, command []string, in io.Reader, out, failures io.Writer,
	resize <-chan remotecommand.TerminalSize) (int, error) {
	c, err := r.find(id)
	if err != nil {
		return 0, err
	}
	cmd, p, err := c.inside(ctx, command)
	if err != nil {
		return 0, err
	}
	defer cmd.ExtraFiles[1].Close()
	cmd.WaitDelay = time.Second
	if resize != nil {
		err = c.terminal(cmd, p, in, out, resize)
	} else {
		cmd.Stdout, cmd.Stderr = out, failures
		if in != nil { // by a pipe of our own: Wait must not wait for a caller who types nothing more
			pipe, problem := cmd.StdinPipe()
			if problem != nil {
				return 0, problem
			}
			go func() { _, _ = io.Copy(pipe, in); pipe.Close() }()
		}
		if err = c.launch(cmd, p); err == nil {
			err = cmd.Wait()
		}
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func (c *container) terminal(cmd *exec.Cmd, p plan, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	device, other, err := pty.Open()
	if err != nil {
		return err
	}
	defer device.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = other, other, other
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = false, true, true
	err = c.launch(cmd, p)
	other.Close()
	if err != nil {
		return err
	}
	go func() {
		for size := range resize {
			_ = pty.Setsize(device, &pty.Winsize{Rows: size.Height, Cols: size.Width})
		}
	}()
	if in != nil {
		go func() { _, _ = io.Copy(device, in) }()
	}
	_, _ = io.Copy(out, device) // ends with an error when the last process has closed the terminal
	return cmd.Wait()
}

// streamer is what the streaming server calls for kubectl exec.
type streamer struct{ *engine }

func (s streamer) Exec(ctx context.Context, id string, command []string, in io.Reader, out, failures io.WriteCloser, tty bool,
	resize <-chan remotecommand.TerminalSize) error {
	if !tty {
		resize = nil
	}
	code, err := s.exec(ctx, id, command, in, out, failures, resize)
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: errors.New("command failed"), Code: code}
	}
	return err
}

func (s streamer) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("the test cluster does not attach")
}

func (s streamer) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return errors.New("the test cluster does not forward ports: the machine has a route to its pods")
}
