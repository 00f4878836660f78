// go run ./compare_and_set [URI]   (in examples/go)
//
// Changing a value that others change at the same time: read it with its version, write it back only if the version still
// stands. An unmet condition is a result, not an error.
package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

const (
	others = 8
	steps  = 50
)

func main() {
	// One client serves any number of goroutines.
	client := example.Connect(slotkv.Options{Namespace: "example-cas"})
	defer client.Close()
	ctx := context.Background()
	_, err := client.Put(ctx, "sum", []byte("0"))
	example.Must(err)

	repetitions := make(chan int)
	for other := 0; other < others; other++ {
		go func() { repetitions <- addOften(ctx, client) }()
	}
	repeated := 0
	for other := 0; other < others; other++ {
		repeated += <-repetitions
	}
	entry, err := client.Get(ctx, "sum")
	example.Must(err)
	example.Expect(string(entry.Value) == strconv.Itoa(others*steps), "%s", entry.Value)
	_, err = client.Delete(ctx, "sum")
	example.Must(err)

	// For a plain counter there is a shorter way.
	sum, err := client.Increment(ctx, "counter", 41)
	example.Must(err)
	example.Expect(sum == 41, "%d", sum)
	sum, err = client.Increment(ctx, "counter", 1)
	example.Must(err)
	example.Expect(sum == 42, "%d", sum)
	_, err = client.Delete(ctx, "counter")
	example.Must(err)
	fmt.Printf("compare_and_set: %d additions, %d repeated\n", others*steps, repeated)
}

// addOften adds 1 so many times; how often somebody else was faster.
func addOften(ctx context.Context, client *slotkv.Client) (repeated int) {
	for step := 0; step < steps; {
		entry, err := client.Get(ctx, "sum")
		example.Must(err)
		sum, err := strconv.Atoi(string(entry.Value))
		example.Must(err)
		put, err := client.CompareAndSet(ctx, "sum", []byte(strconv.Itoa(sum+1)), entry.Version)
		example.Must(err)
		if put.Done() {
			step++
		} else {
			repeated++
		}
	}
	return repeated
}
