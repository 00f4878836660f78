// go run ./compare_file FILE URI   (in examples/go)
//
// Reads back every record of a JSON Lines file (as `slotkv import` reads it), a goroutine for each key of a chunk, and
// compares it byte for byte; the demo's Go client. Prints {"done": n} as it goes, and at the end the records found, those
// that differ, and the seconds.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slotkv/slotkv/examples/go/internal/example"
	"github.com/slotkv/slotkv/examples/go/slotkv"
)

const (
	// Records of a chunk, unless their values are large.
	chunkRecords = 2000
	// Bytes of values of a chunk.
	chunkBytes = 16 << 20
)

// A line has the header, or a record: text, or base64 where the bytes are no text.
type line struct {
	Header      *int    `json:"slotkv_export"`
	Key         *string `json:"key"`
	Value       *string `json:"value"`
	KeyBase64   []byte  `json:"key_base64"`
	ValueBase64 []byte  `json:"value_base64"`
}

type tally struct {
	client         *slotkv.Client
	done           int
	records, other int64
	asking         time.Duration
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: compare_file FILE URI")
	}
	file, err := os.Open(os.Args[1])
	example.Must(err)
	client, err := slotkv.Connect(context.Background(), os.Args[2], slotkv.Options{Deadline: time.Minute})
	example.Must(err)
	tally := tally{client: client}
	var chunk []slotkv.Pair
	size := 0
	lines := bufio.NewReaderSize(file, 1<<20)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		example.Must(err)
		var fields line
		example.Must(json.Unmarshal(text, &fields))
		if fields.Header != nil {
			continue
		}
		pair := slotkv.Pair{Key: string(either(fields.Key, fields.KeyBase64)), Value: either(fields.Value, fields.ValueBase64)}
		chunk, size = append(chunk, pair), size+len(pair.Value)
		if len(chunk) == chunkRecords || size >= chunkBytes {
			tally.compare(chunk)
			chunk, size = chunk[:0], 0
		}
	}
	tally.compare(chunk)
	example.Must(client.Close())
	fmt.Printf("{\"records\":%d,\"different\":%d,\"seconds\":%f}\n", tally.records, tally.other, tally.asking.Seconds())
}

func either(text *string, coded []byte) []byte {
	if text != nil {
		return []byte(*text)
	}
	return coded
}

func (t *tally) compare(chunk []slotkv.Pair) {
	start := time.Now()
	var waiting sync.WaitGroup
	for _, pair := range chunk {
		waiting.Add(1)
		go func(pair slotkv.Pair) {
			defer waiting.Done()
			entry, err := t.client.Get(context.Background(), pair.Key)
			example.Must(err)
			if entry.Found {
				atomic.AddInt64(&t.records, 1)
			}
			if entry.Found && !bytes.Equal(entry.Value, pair.Value) {
				atomic.AddInt64(&t.other, 1)
			}
		}(pair)
	}
	waiting.Wait()
	t.asking += time.Since(start)
	t.done += len(chunk)
	fmt.Printf("{\"done\":%d}\n", t.done)
}
