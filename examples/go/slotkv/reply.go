package slotkv

// #include <slotkv.h>
import "C"

import (
	"time"
	"unsafe"
)

// A reply is how an operation ended, in Go's own memory.
type reply struct {
	status  Status
	version uint64
	number  int64
	ttl     time.Duration
	value   []byte
	cursor  []byte
	items   []Item
	many    []reply
	cluster *ClusterStatus
	err     *Error
}

// error is nil where there is none.
func (r reply) error() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

func (r reply) entry() Entry {
	return Entry{r.status == StatusFound, r.value, r.version, r.ttl}
}

// replyOf copies a result of the C library's.
func replyOf(result *C.slotkv_result_t) reply {
	made := reply{
		status:  Status(result.status),
		version: uint64(result.version),
		number:  int64(result.number),
		ttl:     time.Duration(result.ttl_ms) * time.Millisecond,
		value:   copyOf(result.value),
		cursor:  copyOf(result.cursor),
		cluster: clusterOf(result.cluster),
		err:     errorOf(result),
	}
	if result.items_count > 0 {
		made.items = make([]Item, 0, result.items_count)
		for _, its := range unsafe.Slice(result.items, result.items_count) {
			item := Item{Value: copyOf(its.value), Version: uint64(its.version), Slot: uint16(its.slot)}
			item.TTL = time.Duration(its.ttl_ms) * time.Millisecond
			item.Key = string(unsafe.Slice((*byte)(its.key.data), its.key.size))
			made.items = append(made.items, item)
		}
	}
	if result.results_count > 0 {
		made.many = make([]reply, result.results_count)
		for at := range made.many {
			made.many[at] = replyOf(&unsafe.Slice(result.results, result.results_count)[at])
		}
	}
	return made
}

// copyOf copies bytes; nil for NULL.
func copyOf(bytes C.slotkv_bytes_t) []byte {
	if bytes.data == nil {
		return nil
	}
	return append([]byte{}, unsafe.Slice((*byte)(bytes.data), bytes.size)...)
}
