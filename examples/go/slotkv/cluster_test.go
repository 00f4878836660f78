package slotkv

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Longest time that something may take that must happen.
const patience = 30 * time.Second

// A server is a `slotkv dev`. SLOTKV_BIN names the program; otherwise it is looked for in the workspace.
type server struct {
	command *exec.Cmd
	process *os.Process
	uri     string
}

// The cluster of most tests.
var cluster *server

func TestMain(tests *testing.M) {
	started, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	cluster = started
	status := tests.Run()
	cluster.stop()
	os.Exit(status)
}

// start begins a cluster of the test's own.
func start(t *testing.T, arguments ...string) *server {
	t.Helper()
	started, err := begin(arguments...)
	must(t, err)
	t.Cleanup(started.stop)
	return started
}

func begin(arguments ...string) (*server, error) {
	program := os.Getenv("SLOTKV_BIN")
	if program == "" {
		program = "../../../target/debug/slotkv"
	}
	command := exec.Command(program, append([]string{"dev", "--port", "0"}, arguments...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	lines, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	line, _ := bufio.NewReader(lines).ReadString('\n')
	return &server{command, command.Process, strings.TrimSpace(strings.TrimPrefix(line, "ready "))}, nil
}

func (s *server) stop() {
	s.process.Signal(syscall.SIGCONT)
	s.process.Signal(syscall.SIGTERM)
	s.command.Wait()
}

// pause stops the cluster until the test ends or what is returned is called: nobody answers meanwhile.
func pause(t *testing.T) (resume func()) {
	t.Helper()
	resume = func() { cluster.process.Signal(syscall.SIGCONT) }
	t.Cleanup(resume)
	if err := cluster.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "all threads of the cluster to stand still", func() bool {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", cluster.process.Pid))
		if err != nil || len(states) == 0 {
			t.Fatal("no threads", err)
		}
		for _, state := range states {
			if text, err := os.ReadFile(state); err == nil && !strings.Contains(string(text), "\nState:\tT") {
				return false
			}
		}
		return true
	})
	return resume
}

// connected gives a client in a namespace of the test's own.
func connected(t *testing.T) *Client {
	t.Helper()
	client, err := Connect(context.Background(), cluster.uri, Options{Namespace: t.Name(), Deadline: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// await looks again and again.
func await(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !isSo(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
