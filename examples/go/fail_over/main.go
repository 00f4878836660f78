// go run ./fail_over URI   (in examples/go)
//
// What callers meet while a worker is down. Each goroutine adds to a counter of its own; the counters are spread over every
// shard. The example asks you to crash a worker (`kill -9`) and to start it again on its data. Those on the other shards go
// on, those of the crashed one wait; each addition happens exactly once.
package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

const (
	// Spread over the slots, so that every shard has some.
	counters = 64
	// Additions to each counter after the interruption was seen.
	additionsAfter = 20
	// Longest time that one addition may take, and so that the worker may be away.
	patience = time.Minute
)

var ctx = context.Background()

// A count is what one goroutine did.
type count struct {
	key     string
	total   int64
	longest time.Duration
}

func main() {
	client := example.Connect(slotkv.Options{Namespace: "example-fail-over", Deadline: patience})
	defer client.Close()
	keys := make([]string, counters)
	for number := range keys {
		keys[number] = fmt.Sprintf("counter/%d", number)
	}
	_, err := client.DeleteMany(ctx, keys)
	example.Must(err)

	counts := make(chan count)
	for _, key := range keys {
		go func(key string) { counts <- addUntilItIsOver(client, key) }(key)
	}
	fmt.Println("crash a worker now (kill -9) and start it again")
	additions, longest := int64(0), time.Duration(0)
	for range keys {
		its := <-counts
		example.Expect(read(client, its.key) == its.total, "%s is not %d", its.key, its.total)
		additions += its.total
		if its.longest > longest {
			longest = its.longest
		}
	}

	stats, err := client.Stats()
	example.Must(err)
	_, err = client.DeleteMany(ctx, keys)
	example.Must(err)
	fmt.Printf("ok: %d additions, each exactly once; longest %d ms, %d sent again, %d connections lost\n",
		additions, longest.Milliseconds(), stats.Retries, stats.ConnectionsLost)
}

func addUntilItIsOver(client *slotkv.Client, key string) count {
	done := count{key: key}
	for left := additionsAfter; left > 0; {
		start := time.Now()
		done.total = add(client, key, done.total)
		if took := time.Since(start); took > done.longest {
			done.longest = took
		}
		stats, err := client.Stats()
		example.Must(err)
		if stats.ConnectionsLost > 0 {
			left--
		}
	}
	return done
}

// add adds 1; the sum as it is known to be.
func add(client *slotkv.Client, key string, acknowledged int64) int64 {
	total, err := client.Increment(ctx, key, 1)
	var failure *slotkv.Error
	if errors.As(err, &failure) && failure.Outcome == slotkv.OutcomeUnknown {
		// The one case in which a caller has to look: the addition may have been applied or not.
		return read(client, key)
	}
	example.Must(err)
	example.Expect(total == acknowledged+1, "%s: an addition was lost or done twice", key)
	return total
}

func read(client *slotkv.Client, key string) int64 {
	entry, err := client.Get(ctx, key)
	example.Must(err)
	if !entry.Found {
		return 0
	}
	number, err := strconv.ParseInt(string(entry.Value), 10, 64)
	example.Must(err)
	return number
}
