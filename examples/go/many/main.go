// go run ./many [URI]   (in examples/go)
//
// Thousands of keys at once: in one call, or in as many goroutines. Every key has its own result, in the order of the keys.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

const records = 10_000

func main() {
	client := example.Connect(slotkv.Options{Namespace: "example-many"})
	defer client.Close()
	ctx := context.Background()
	keys, pairs := make([]string, records), make([]slotkv.Pair, records)
	for number := range keys {
		keys[number] = fmt.Sprintf("user:%d", number)
		pairs[number] = slotkv.Pair{Key: keys[number], Value: []byte(fmt.Sprintf("value %d", number))}
	}
	_, err := client.DeleteMany(ctx, keys)
	example.Must(err)

	puts, err := client.PutMany(ctx, pairs)
	example.Must(err)
	for _, put := range puts {
		example.Expect(put.Status == slotkv.StatusCreated, "%v", put)
	}
	entries, err := client.GetMany(ctx, keys)
	example.Must(err)
	for number, entry := range entries {
		example.Expect(string(entry.Value) == string(pairs[number].Value), "%v", entry)
	}

	// The same from goroutines with one key each: what waits together is sent together.
	var waiting sync.WaitGroup
	for number := range keys {
		waiting.Add(1)
		go func(number int) {
			defer waiting.Done()
			entry, err := client.Get(ctx, keys[number])
			example.Must(err)
			example.Expect(string(entry.Value) == string(pairs[number].Value), "%v", entry)
		}(number)
	}
	waiting.Wait()

	// One key past its limit spoils nothing for the others.
	three := []slotkv.Pair{{Key: "short"}, {Key: strings.Repeat("x", 40_000)}, {Key: "also short"}}
	puts, err = client.PutMany(ctx, three)
	var failure *slotkv.Error
	example.Expect(errors.As(err, &failure) && failure.Code == slotkv.CodeTooLarge, "%v", err)
	example.Expect(puts[0].Done() && puts[1].Err != nil && puts[2].Done(), "%v", puts)

	_, err = client.DeleteMany(ctx, append(keys, "short", "also short"))
	example.Must(err)
	fmt.Printf("many: %d keys written, read and deleted\n", records)
}
