package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// logFile is a container's log in the form that a kubelet reads: time, stream, tag, line.
type logFile struct {
	mu   sync.Mutex
	path string
	file *os.File
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file = file
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
}

// logStream writes one of a container's streams, line by line: F marks the end of a line, P a part of
// one that is too long to be kept until its end.
type logStream struct {
	*logFile
	name string
	rest []byte
}

const longest = 16 << 10

func (s *logStream) Write(data []byte) (int, error) {
	var out bytes.Buffer
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")
	for line := range bytes.Lines(append(s.rest, data...)) {
		whole, ended := bytes.CutSuffix(line, []byte("\n"))
		switch {
		case ended:
			fmt.Fprintf(&out, "%s %s F %s\n", now, s.name, whole)
			s.rest = nil
		case len(line) > longest:
			fmt.Fprintf(&out, "%s %s P %s\n", now, s.name, line)
			s.rest = nil
		default:
			s.rest = bytes.Clone(line)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.file.Write(out.Bytes())
	return len(data), err
}

// end writes what came after the last line.
func (s *logStream) end() {
	if len(s.rest) > 0 {
		_, _ = s.Write([]byte("\n"))
	}
}
