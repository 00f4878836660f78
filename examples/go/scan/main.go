// go run ./scan [URI]   (in examples/go)
//
// Keys by prefix, in slot order (cheap) and in key order (merged), and going on from a cursor.
package main

import (
	"context"
	"fmt"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

var ctx = context.Background()

func main() {
	client := example.Connect(slotkv.Options{Namespace: "example-scan"})
	defer client.Close()
	keys := append(numbered("people", 500), numbered("places", 100)...)
	pairs := make([]slotkv.Pair, len(keys))
	for number, key := range keys {
		pairs[number] = slotkv.Pair{Key: key, Value: []byte(key)}
	}
	_, err := client.PutMany(ctx, pairs)
	example.Must(err)

	people := slotkv.Range{Prefix: "people/"}
	count, err := client.Count(ctx, people)
	example.Must(err)
	example.Expect(count == 500, "%d", count)

	// Slot order: every key once, whatever is written meanwhile.
	seen := map[string]bool{}
	scan := client.Scan(people, nil)
	for len(seen) < 200 && scan.Next(ctx) {
		seen[scan.Item().Key] = true
	}
	example.Must(scan.Err())

	// A cursor is plain bytes: another process, also in another language, can go on from it.
	cursor, err := scan.Cursor()
	example.Must(err)
	scan = client.Scan(people, cursor)
	rest := 0
	for ; scan.Next(ctx); rest++ {
		seen[scan.Item().Key] = true
	}
	example.Must(scan.Err())
	example.Expect(rest == 300 && len(seen) == 500, "%d and %d", rest, len(seen))

	// Key order, keys alone.
	across := slotkv.Range{Start: "people/0490", End: "places/0010", Ordered: true, KeysOnly: true}
	ordered := 0
	for scan = client.Scan(across, nil); scan.Next(ctx); ordered++ {
		item := scan.Item()
		example.Expect(item.Key == keys[490+ordered] && len(item.Value) == 0, "%v", item)
	}
	example.Must(scan.Err())
	example.Expect(ordered == 20, "%d", ordered)

	_, err = client.DeleteMany(ctx, keys)
	example.Must(err)
	fmt.Printf("scan: %d keys in two parts, %d in key order\n", len(seen), ordered)
}

func numbered(name string, count int) []string {
	keys := make([]string, count)
	for number := range keys {
		keys[number] = fmt.Sprintf("%s/%04d", name, number)
	}
	return keys
}
