// go run ./hello [URI]   (in examples/go, with the C library installed: docs/guide/go.md)
//
// Put, get and delete, and what they answer.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

func main() {
	client := example.Connect(slotkv.Options{})
	defer client.Close()
	ctx := context.Background()
	_, err := client.Delete(ctx, "hello")
	example.Must(err)

	put, err := client.Put(ctx, "hello", []byte("world"))
	example.Must(err)
	example.Expect(put.Status == slotkv.StatusCreated, "%v", put)
	put, err = client.Put(ctx, "hello", []byte("slotkv"))
	example.Must(err)
	example.Expect(put.Status == slotkv.StatusUpdated, "%v", put)

	entry, err := client.Get(ctx, "hello")
	example.Must(err)
	example.Expect(string(entry.Value) == "slotkv" && entry.Version == put.Version, "%v", entry)
	entry, err = client.Get(ctx, "nobody")
	example.Must(err)
	example.Expect(!entry.Found, "%v", entry)

	// A call whose context has ended is not begun; one whose context ends is given up, at the worker, too.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = client.Get(ended, "hello")
	var failure *slotkv.Error
	example.Expect(errors.Is(err, context.Canceled) && errors.As(err, &failure), "%v", err)
	example.Expect(failure.Outcome == slotkv.OutcomeFailed, "%v", failure)

	gone, err := client.Delete(ctx, "hello")
	example.Must(err)
	example.Expect(gone.Status == slotkv.StatusDeleted, "%v", gone)
	gone, err = client.Delete(ctx, "hello")
	example.Must(err)
	example.Expect(gone.Status == slotkv.StatusNotFound, "%v", gone)
	fmt.Println("hello: created, updated, read, deleted")
}
