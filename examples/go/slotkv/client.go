// Package slotkv is a client of slotkv, a distributed key-value store, on the C library libslotkv.
//
//	client, err := slotkv.Connect(ctx, "slotkv://127.0.0.1:7700", slotkv.Options{})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	put, err := client.Put(ctx, "user:1", []byte("Ada"))
//	entry, err := client.Get(ctx, "user:1")
//
// A client serves any number of goroutines and has one queue of the C library. Calls go to it from where they are made;
// their ends come back in batches to one goroutine, which waits for the queue's descriptor in Go's own poller. So no
// call holds a thread of the system while it waits.
//
// A context's deadline is the call's deadline. A context that is cancelled cancels the call, at the worker, too.
package slotkv

import (
	"context"
	"time"
)

// Options for connecting. Zero values stand for the defaults; what the URI says of the same thing wins.
type Options struct {
	// Namespace of the client's keys.
	Namespace string
	// ClientName is for people who look at the cluster.
	ClientName string
	// Deadline of calls whose context has none; 5 seconds.
	Deadline time.Duration
	// ConnectTimeout is the time for connecting, and for one connection to a member; 5 seconds.
	ConnectTimeout time.Duration
	// Zone is where the client stands: reads that backups may answer go to those of the same zone, if there are any.
	Zone string
}

// Status is what an operation did or found.
type Status int

// An Entry is what Get finds.
type Entry struct {
	// Found tells whether the key exists.
	Found bool
	// Value is the caller's own copy.
	Value []byte
	// Version of the value, for CompareAndSet and DeleteIfVersion.
	Version uint64
	// TTL is what is left of the key's lifetime; 0 if it lives for ever.
	TTL time.Duration
}

// A Write is what became of one. An unmet condition is no error.
type Write struct {
	Status Status
	// Version of the key: after the write, or of its deletion; of an unmet condition as it stands, 0 if the key is absent.
	Version uint64
}

// Done tells whether something was written or deleted.
func (w Write) Done() bool {
	return w.Status == StatusCreated || w.Status == StatusUpdated || w.Status == StatusDeleted
}

// A Pair is a key and the value to store under it.
type Pair struct {
	Key   string
	Value []byte
}

// EntryResult is one key's part of GetMany.
type EntryResult struct {
	Entry
	Err error
}

// WriteResult is one key's part of PutMany and DeleteMany.
type WriteResult struct {
	Write
	Err error
}

// Get reads the value of a key.
func (c *Client) Get(ctx context.Context, key string) (Entry, error) {
	reply, err := c.one(ctx, operation{kind: kindGet, key: key})
	return reply.entry(), err
}

// Has tells whether a key exists.
func (c *Client) Has(ctx context.Context, key string) (bool, error) {
	reply, err := c.one(ctx, operation{kind: kindHas, key: key})
	return reply.number == 1, err
}

// Put stores a value: StatusCreated or StatusUpdated.
func (c *Client) Put(ctx context.Context, key string, value []byte) (Write, error) {
	return c.write(ctx, operation{kind: kindPut, key: key, value: value})
}

// PutFor stores a value for a lifetime, up to ten years; 0 is for ever, as Put.
func (c *Client) PutFor(ctx context.Context, key string, value []byte, ttl time.Duration) (Write, error) {
	return c.write(ctx, operation{kind: kindPut, key: key, value: value, ttl: ttl})
}

// Expire gives a key that exists a new lifetime from now on, 0 one without end; its value stays. Otherwise StatusUnmet.
func (c *Client) Expire(ctx context.Context, key string, ttl time.Duration) (Write, error) {
	return c.write(ctx, operation{kind: kindExpire, key: key, ttl: ttl})
}

// PutIfAbsent stores a value if the key is absent; otherwise StatusUnmet.
func (c *Client) PutIfAbsent(ctx context.Context, key string, value []byte) (Write, error) {
	return c.write(ctx, operation{kind: kindPut, condition: conditionAbsent, key: key, value: value})
}

// UpdateIfPresent stores a value if the key exists; otherwise StatusUnmet.
func (c *Client) UpdateIfPresent(ctx context.Context, key string, value []byte) (Write, error) {
	return c.write(ctx, operation{kind: kindPut, condition: conditionPresent, key: key, value: value})
}

// CompareAndSet stores a value if the key exists in a version; otherwise StatusUnmet.
func (c *Client) CompareAndSet(ctx context.Context, key string, value []byte, version uint64) (Write, error) {
	return c.write(ctx, operation{kind: kindPut, condition: conditionVersion, key: key, value: value, version: version})
}

// Delete removes a key: StatusDeleted or StatusNotFound.
func (c *Client) Delete(ctx context.Context, key string) (Write, error) {
	return c.write(ctx, operation{kind: kindDelete, key: key})
}

// DeleteIfVersion removes a key if it exists in a version; otherwise StatusUnmet.
func (c *Client) DeleteIfVersion(ctx context.Context, key string, version uint64) (Write, error) {
	return c.write(ctx, operation{kind: kindDelete, condition: conditionVersion, key: key, version: version})
}

// Increment adds to a decimal number of 64 bits and gives the sum. An absent key counts as 0.
func (c *Client) Increment(ctx context.Context, key string, delta int64) (int64, error) {
	reply, err := c.one(ctx, operation{kind: kindIncrement, key: key, delta: delta})
	return reply.number, err
}

// A WriteOutcome is what came of a write whose outcome was unknown.
type WriteOutcome struct {
	// Write has StatusNotApplied if it was not applied and never will be, StatusForgotten if nobody knows any more.
	Write
	// Number is the sum, if it was an increment.
	Number int64
}

// Outcome tells what came of a write whose outcome is unknown, by the Token of its Error. Asking again gives the same answer.
func (c *Client) Outcome(ctx context.Context, token []byte) (WriteOutcome, error) {
	reply, err := c.one(ctx, operation{kind: kindOutcome, value: token})
	return WriteOutcome{Write{reply.status, reply.version}, reply.number}, err
}

// GetMany reads many keys. Every key has its result, in the order of the keys; if one failed, the error is the first's.
func (c *Client) GetMany(ctx context.Context, keys []string) ([]EntryResult, error) {
	replies, err := c.many(ctx, kindGet, pairsOf(keys))
	results := make([]EntryResult, len(replies))
	for at, reply := range replies {
		results[at] = EntryResult{reply.entry(), reply.error()}
	}
	return results, err
}

// PutMany stores many values. Results and errors are as those of GetMany.
func (c *Client) PutMany(ctx context.Context, pairs []Pair) ([]WriteResult, error) {
	replies, err := c.many(ctx, kindPut, pairs)
	return writes(replies), err
}

// DeleteMany removes many keys. Results and errors are as those of GetMany.
func (c *Client) DeleteMany(ctx context.Context, keys []string) ([]WriteResult, error) {
	replies, err := c.many(ctx, kindDelete, pairsOf(keys))
	return writes(replies), err
}

// Count tells how many keys a range has.
func (c *Client) Count(ctx context.Context, keys Range) (int64, error) {
	reply, err := c.ranged(ctx, kindCount, keys, nil)
	return reply.number, err
}

func (c *Client) write(ctx context.Context, operation operation) (Write, error) {
	reply, err := c.one(ctx, operation)
	return Write{reply.status, reply.version}, err
}

func writes(replies []reply) []WriteResult {
	results := make([]WriteResult, len(replies))
	for at, reply := range replies {
		results[at] = WriteResult{Write{reply.status, reply.version}, reply.error()}
	}
	return results
}

func pairsOf(keys []string) []Pair {
	pairs := make([]Pair, len(keys))
	for at, key := range keys {
		pairs[at].Key = key
	}
	return pairs
}
