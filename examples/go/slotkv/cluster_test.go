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

// The cluster of all tests: `slotkv dev`. SLOTKV_BIN names the program; otherwise it is looked for in the workspace.
var cluster struct {
	process *os.Process
	uri     string
}

func TestMain(tests *testing.M) {
	program := os.Getenv("SLOTKV_BIN")
	if program == "" {
		program = "../../../target/debug/slotkv"
	}
	command := exec.Command(program, "dev", "--port", "0")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	lines, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	line, _ := bufio.NewReader(lines).ReadString('\n')
	cluster.process, cluster.uri = command.Process, strings.TrimSpace(strings.TrimPrefix(line, "ready "))
	status := tests.Run()
	cluster.process.Signal(syscall.SIGCONT)
	cluster.process.Signal(syscall.SIGTERM)
	command.Wait()
	os.Exit(status)
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
