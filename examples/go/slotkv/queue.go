package slotkv

/*
#cgo pkg-config: slotkv
#include <slotkv.h>
#include <stdlib.h>

// How many ends are taken at once.
#define ENDS_MAX 256

struct begun {
    slotkv_pending_t pending;
    slotkv_result_t result;
};

struct ends {
    size_t count;
    uintptr_t names[ENDS_MAX];
    slotkv_completion_t completions[ENDS_MAX];
};

// Whatever is Go's is read during the call and not kept. The context is a number: C never sees a pointer to a call.
static struct begun begin(slotkv_queue_t queue, uintptr_t name, slotkv_call_options_t options,
                          slotkv_operation_t operation) {
    struct begun begun = {0};
    operation.options = &options;
    operation.context = (void *)name;
    slotkv_queue_submit(queue, &operation, 1, &begun.pending, NULL, &begun.result);
    return begun;
}

static struct begun begin_one(slotkv_queue_t queue, uintptr_t name, slotkv_call_options_t options, uint32_t kind,
                              uint32_t condition, _GoString_ key, const char *value, size_t value_size,
                              uint64_t version, int64_t delta, uint64_t ttl_ms) {
    slotkv_operation_t operation = slotkv_operation((slotkv_operation_kind_t)kind);
    operation.condition = condition;
    operation.key = slotkv_bytes(_GoStringPtr(key), _GoStringLen(key));
    operation.value = slotkv_bytes(value, value_size);
    operation.version = version;
    operation.delta = delta;
    // Of an outcome, the value is its token.
    operation.token = operation.value;
    options.ttl_ms = ttl_ms;
    return begin(queue, name, options, operation);
}

// `bytes` has keys and values in turns; `ends`, where each ends.
static struct begun begin_many(slotkv_queue_t queue, uintptr_t name, slotkv_call_options_t options, uint32_t kind,
                               const char *bytes, const size_t *ends, size_t count) {
    slotkv_operation_t operation = slotkv_operation(SLOTKV_OPERATION_KIND_MANY);
    slotkv_operation_t *inner = calloc(count + 1, sizeof *inner);
    if (inner == NULL) {
        abort();
    }
    size_t at = 0;
    for (size_t number = 0; number < count; number++) {
        size_t key_end = ends[2 * number], value_end = ends[2 * number + 1];
        inner[number] = slotkv_operation((slotkv_operation_kind_t)kind);
        inner[number].key = slotkv_bytes(bytes + at, key_end - at);
        inner[number].value = slotkv_bytes(bytes + key_end, value_end - key_end);
        at = value_end;
    }
    operation.operations = inner;
    operation.operations_count = count;
    struct begun begun = begin(queue, name, options, operation);
    free(inner);
    return begun;
}

static slotkv_range_t range_of(_GoString_ prefix, _GoString_ start, _GoString_ end, uint32_t page_items,
                               uint8_t is_ordered, uint8_t keys_only) {
    slotkv_range_t range = slotkv_range();
    range.prefix = slotkv_bytes(_GoStringPtr(prefix), _GoStringLen(prefix));
    range.start = slotkv_bytes(_GoStringPtr(start), _GoStringLen(start));
    range.end = slotkv_bytes(_GoStringPtr(end), _GoStringLen(end));
    range.page_items = page_items;
    range.is_ordered = is_ordered;
    range.keys_only = keys_only;
    return range;
}

static struct begun begin_ranged(slotkv_queue_t queue, uintptr_t name, slotkv_call_options_t options, uint32_t kind,
                                 _GoString_ prefix, _GoString_ start, _GoString_ end, uint32_t page_items,
                                 uint8_t is_ordered, uint8_t keys_only, const char *cursor, size_t cursor_size) {
    slotkv_operation_t operation = slotkv_operation((slotkv_operation_kind_t)kind);
    slotkv_range_t range = range_of(prefix, start, end, page_items, is_ordered, keys_only);
    operation.range = &range;
    operation.cursor = slotkv_bytes(cursor, cursor_size);
    return begin(queue, name, options, operation);
}

static slotkv_result_t cursor_behind(slotkv_queue_t queue, _GoString_ prefix, _GoString_ start, _GoString_ end,
                                     uint32_t page_items, uint8_t is_ordered, uint8_t keys_only, _GoString_ key,
                                     uint16_t slot) {
    slotkv_result_t result;
    slotkv_item_t item = {0};
    slotkv_range_t range = range_of(prefix, start, end, page_items, is_ordered, keys_only);
    item.key = slotkv_bytes(_GoStringPtr(key), _GoStringLen(key));
    item.slot = slot;
    slotkv_queue_cursor(queue, &range, &item, NULL, &result);
    return result;
}

static void take(slotkv_queue_t queue, struct ends *ends) {
    ends->count = 0;
    slotkv_queue_take(queue, 0, ends->completions, ENDS_MAX, &ends->count, NULL);
    for (size_t at = 0; at < ends->count; at++) {
        ends->names[at] = (uintptr_t)ends->completions[at].context;
    }
}

static void free_ends(struct ends *ends) {
    for (size_t at = 0; at < ends->count; at++) {
        slotkv_result_free(&ends->completions[at].result);
    }
}

// How an operation ended that was given up; its code is OK if it had ended before.
static slotkv_result_t cancel(slotkv_queue_t queue, slotkv_pending_t pending) {
    slotkv_completion_t completion = {0};
    slotkv_queue_cancel(queue, pending, &completion, NULL);
    return completion.result;
}
*/
import "C"

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Longest time for one call that the C library takes.
const deadlineMax = 300 * time.Second

// Longest time that closing waits for the ends of open calls.
const closeMax = 2 * time.Second

const (
	kindGet       = C.SLOTKV_OPERATION_KIND_GET
	kindHas       = C.SLOTKV_OPERATION_KIND_HAS
	kindPut       = C.SLOTKV_OPERATION_KIND_PUT
	kindExpire    = C.SLOTKV_OPERATION_KIND_EXPIRE
	kindDelete    = C.SLOTKV_OPERATION_KIND_DELETE
	kindIncrement = C.SLOTKV_OPERATION_KIND_INCREMENT
	kindOutcome   = C.SLOTKV_OPERATION_KIND_OUTCOME
	kindCount     = C.SLOTKV_OPERATION_KIND_COUNT
	kindPage      = C.SLOTKV_OPERATION_KIND_PAGE
	kindStatus    = C.SLOTKV_OPERATION_KIND_STATUS

	conditionAbsent  = C.SLOTKV_CONDITION_ABSENT
	conditionPresent = C.SLOTKV_CONDITION_PRESENT
	conditionVersion = C.SLOTKV_CONDITION_VERSION
)

// A Client of a cluster, for any number of goroutines. Close it when it is not needed any more. Views of it, as
// WithReadLevel makes them, are clients on the same connections, and closed with it.
type Client struct {
	*connection
	view view
}

// What the views of a client share.
//
// Invariants: a call is in calls from before it is given to the queue until its end is known, and ends once. Only the
// reader takes from the queue.
type connection struct {
	handle C.slotkv_client_t
	queue  C.slotkv_queue_t
	// descriptor is a duplicate of the queue's: os.File closes what it has.
	descriptor *os.File
	isRead     chan struct{}
	closing    sync.Once

	lock  sync.Mutex
	calls map[C.uintptr_t]*call
	last  C.uintptr_t
	// emptied is there once the client is closing, and closed when no call is left.
	emptied chan struct{}
}

// A call that is open.
type call struct {
	reply reply
	ended chan struct{}
}

// An operation on one key.
type operation struct {
	kind, condition C.uint32_t
	key             string
	value           []byte
	version         uint64
	delta           int64
	ttl             time.Duration
}

// Stats are counts since the client was made, and how many calls it has open now.
type Stats struct {
	Calls, CallsOK, CallsFailed, CallsUnknown, CallsCancelled uint64
	// Retries is how often a call was sent again.
	Retries                    uint64
	Connects, ConnectionsLost  uint64
	FramesSent, FramesReceived uint64
	InFlight                   uint64
	// Submissions is how many operations were given to the C library.
	Submissions uint64
	// Wakeups is how often the reader was woken with ends; one wake-up is for a whole batch.
	Wakeups uint64
}

// Connect connects to a cluster. The URI is slotkv://host:port[,host:port...][/namespace][?option=value].
func Connect(ctx context.Context, uri string, options Options) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, unsent(CodeCancelled, "the context had ended before").byContext(ctx)
	}
	if limit, ok := ctx.Deadline(); ok && (options.ConnectTimeout <= 0 || time.Until(limit) < options.ConnectTimeout) {
		options.ConnectTimeout = time.Until(limit)
	}
	type connected struct {
		client *Client
		err    error
	}
	// Connecting waits inside the C library, which nobody can end: it ends by itself.
	made := make(chan connected, 1)
	go func() {
		client, err := connect(uri, options)
		made <- connected{client, err}
	}()
	select {
	case made := <-made:
		return made.client, made.err
	case <-ctx.Done():
		go func() {
			if made := <-made; made.client != nil {
				made.client.Close()
			}
		}()
		return nil, unsent(CodeCancelled, "the context ended while connecting").byContext(ctx)
	}
}

func connect(uri string, options Options) (*Client, error) {
	texts := [...]string{uri, options.Namespace, options.ClientName, options.Zone}
	var copies [len(texts)]*C.char
	for at, text := range texts {
		if strings.IndexByte(text, 0) >= 0 {
			return nil, unsent(CodeInvalidArgument, "a NUL in the URI, the namespace, the zone or the client's name")
		}
		copies[at] = C.CString(text)
		defer C.free(unsafe.Pointer(copies[at]))
	}
	told := C.slotkv_connect_options()
	told.namespace_name, told.client_name = copies[1], copies[2]
	if options.Zone != "" {
		told.zone = copies[3]
	}
	told.deadline_ms = milliseconds(options.Deadline)
	told.connect_timeout_ms = milliseconds(options.ConnectTimeout)
	// All calls go to the queue, which has connections of its own.
	told.is_lazy = 1

	c := &Client{connection: &connection{calls: map[C.uintptr_t]*call{}, isRead: make(chan struct{})}}
	var result C.slotkv_result_t
	defer func() { C.slotkv_result_free(&result) }()
	if C.slotkv_connect(C.SLOTKV_ABI_VERSION, copies[0], &told, &c.handle, &result) != C.SLOTKV_CODE_OK {
		return nil, errorOf(&result)
	}
	if C.slotkv_queue_open(c.handle, nil, nil, &c.queue, &result) != C.SLOTKV_CODE_OK {
		C.slotkv_close(c.handle, nil)
		return nil, errorOf(&result)
	}
	if err := c.watch(); err != nil {
		C.slotkv_queue_close(c.queue, nil)
		C.slotkv_close(c.handle, nil)
		return nil, &Error{Code: CodeUnexpected, Outcome: OutcomeFailed, Retry: "never", Message: err.Error(), ended: err}
	}
	return c, nil
}

// Close ends the client, in bounded time. Calls that are open end with CodeClosed.
func (c *connection) Close() error {
	c.closing.Do(func() {
		emptied := make(chan struct{})
		c.lock.Lock()
		c.emptied = emptied
		if len(c.calls) == 0 {
			close(emptied)
		}
		c.lock.Unlock()

		C.slotkv_close(c.handle, nil)
		timer := time.NewTimer(closeMax)
		defer timer.Stop()
		select {
		case <-emptied:
		case <-timer.C:
		}
		c.descriptor.Close()
		<-c.isRead
		C.slotkv_queue_close(c.queue, nil)

		c.lock.Lock()
		defer c.lock.Unlock()
		for _, left := range c.calls {
			left.reply.err = &Error{Code: CodeClosed, Outcome: OutcomeUnknown, Retry: "ask", Message: "the client was closed"}
			close(left.ended)
		}
		c.calls = nil
	})
	return nil
}

// Stats tells what the client has done so far.
func (c *connection) Stats() (Stats, error) {
	var result C.slotkv_result_t
	var counters C.slotkv_queue_counters_t
	defer func() { C.slotkv_result_free(&result) }()
	if C.slotkv_queue_stats(c.queue, &result) != C.SLOTKV_CODE_OK {
		return Stats{}, errorOf(&result)
	}
	C.slotkv_queue_counts(c.queue, &counters, nil)
	its := result.stats
	return Stats{
		Calls:           uint64(its.calls),
		CallsOK:         uint64(its.calls_ok),
		CallsFailed:     uint64(its.calls_failed),
		CallsUnknown:    uint64(its.calls_unknown),
		CallsCancelled:  uint64(its.calls_cancelled),
		Retries:         uint64(its.retries),
		Connects:        uint64(its.connects),
		ConnectionsLost: uint64(its.connections_lost),
		FramesSent:      uint64(its.frames_sent),
		FramesReceived:  uint64(its.frames_received),
		InFlight:        uint64(its.in_flight),
		Submissions:     uint64(counters.submissions),
		Wakeups:         uint64(counters.wakeups),
	}, nil
}

// lifetime is in whole milliseconds, a part of one counted as one; 0 stands for one without end, and what is below 0 is
// too long for the library.
func lifetime(ttl time.Duration) C.uint64_t {
	return C.uint64_t((ttl + time.Millisecond - 1) / time.Millisecond)
}

// one carries out an operation on one key.
func (c *Client) one(ctx context.Context, its operation) (reply, error) {
	value, size := pointer(its.value)
	return c.do(ctx, func(name C.uintptr_t, options C.slotkv_call_options_t) C.struct_begun {
		return C.begin_one(c.queue, name, options, its.kind, its.condition, its.key, value, size,
			C.uint64_t(its.version), C.int64_t(its.delta), lifetime(its.ttl))
	})
}

// many carries out operations of a kind on many keys; a reply for each.
func (c *Client) many(ctx context.Context, kind C.uint32_t, pairs []Pair) ([]reply, error) {
	size := 0
	for _, pair := range pairs {
		size += len(pair.Key) + len(pair.Value)
	}
	// C may be given a pointer to Go's memory, but not to memory with such pointers in it: keys and values go in one piece.
	// The byte and the number behind them are there so that there is something to point to.
	bytes, ends := make([]byte, 0, size+1), make([]C.size_t, 0, 2*len(pairs)+1)
	for _, pair := range pairs {
		bytes = append(bytes, pair.Key...)
		ends = append(ends, C.size_t(len(bytes)))
		bytes = append(bytes, pair.Value...)
		ends = append(ends, C.size_t(len(bytes)))
	}
	bytes, ends = append(bytes, 0), append(ends, 0)
	replies, err := c.do(ctx, func(name C.uintptr_t, options C.slotkv_call_options_t) C.struct_begun {
		return C.begin_many(c.queue, name, options, kind, (*C.char)(unsafe.Pointer(&bytes[0])), &ends[0], C.size_t(len(pairs)))
	})
	return replies.many, err
}

// ranged carries out an operation on a range.
func (c *Client) ranged(ctx context.Context, kind C.uint32_t, keys Range, cursor []byte) (reply, error) {
	from, size := pointer(cursor)
	return c.do(ctx, func(name C.uintptr_t, options C.slotkv_call_options_t) C.struct_begun {
		return C.begin_ranged(c.queue, name, options, kind, keys.Prefix, keys.Start, keys.End,
			C.uint32_t(keys.PageItems), flag(keys.Ordered), flag(keys.KeysOnly), from, size)
	})
}

func (c *Client) cursorBehind(keys Range, item Item) ([]byte, error) {
	result := C.cursor_behind(c.queue, keys.Prefix, keys.Start, keys.End, C.uint32_t(keys.PageItems),
		flag(keys.Ordered), flag(keys.KeysOnly), item.Key, C.uint16_t(item.Slot))
	defer C.slotkv_result_free(&result)
	reply := replyOf(&result)
	return reply.cursor, reply.error()
}

// do begins a call and waits for its end or for the context's.
func (c *Client) do(ctx context.Context, begin func(C.uintptr_t, C.slotkv_call_options_t) C.struct_begun) (reply, error) {
	if ctx.Err() != nil {
		return reply{}, unsent(CodeCancelled, "the context had ended before the call").byContext(ctx)
	}
	options := c.view.options()
	// The session's handle is closed when nobody has the session any more.
	defer runtime.KeepAlive(c.view.session)
	limit, isLimited := ctx.Deadline()
	if isLimited {
		options.deadline_ms = milliseconds(time.Until(limit))
		if options.deadline_ms == 0 {
			options.deadline_ms = 1
		}
	}
	name, open := c.open()
	if open == nil {
		return reply{}, unsent(CodeClosed, "the client was closed")
	}
	begun := begin(name, options)
	if begun.result.code != C.SLOTKV_CODE_OK {
		defer C.slotkv_result_free(&begun.result)
		c.end(name)
		return reply{}, errorOf(&begun.result)
	}
	select {
	case <-open.ended:
	case <-ctx.Done():
		result := C.cancel(c.queue, begun.pending)
		if result.code != C.SLOTKV_CODE_OK {
			defer C.slotkv_result_free(&result)
			c.end(name)
			return reply{}, errorOf(&result).byContext(ctx)
		}
		// It had ended before, and the reader brings it.
		<-open.ended
	}
	if err := open.reply.err; err != nil && err.Code == CodeTimeout && isLimited {
		err.ended = context.DeadlineExceeded
	}
	return open.reply, open.reply.error()
}

// open names a call; nil if the client is closed.
func (c *connection) open() (C.uintptr_t, *call) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.emptied != nil {
		return 0, nil
	}
	c.last++
	made := &call{ended: make(chan struct{})}
	c.calls[c.last] = made
	return c.last, made
}

// end forgets a call and gives it.
func (c *connection) end(name C.uintptr_t) *call {
	c.lock.Lock()
	defer c.lock.Unlock()
	ended := c.calls[name]
	delete(c.calls, name)
	if ended != nil && c.emptied != nil && len(c.calls) == 0 {
		close(c.emptied)
	}
	return ended
}

// watch starts the reader.
func (c *connection) watch() error {
	fd, err := syscall.Dup(int(C.slotkv_queue_fd(c.queue)))
	if err != nil {
		return fmt.Errorf("the queue's descriptor: %w", err)
	}
	syscall.CloseOnExec(fd)
	c.descriptor = os.NewFile(uintptr(fd), "slotkv queue")
	connection, err := c.descriptor.SyscallConn()
	if err != nil {
		c.descriptor.Close()
		return fmt.Errorf("the queue's descriptor: %w", err)
	}
	ends := (*C.struct_ends)(C.calloc(1, C.sizeof_struct_ends))
	go func() {
		defer close(c.isRead)
		defer C.free(unsafe.Pointer(ends))
		// The function looks for ends and says false when there is none, which is when Go's poller waits for the next. It
		// is over when the descriptor is closed.
		connection.Read(func(uintptr) bool {
			for c.take(ends) {
			}
			return false
		})
	}()
	return nil
}

// take hands what has ended to those who wait for it; whether there was something.
func (c *connection) take(ends *C.struct_ends) bool {
	C.take(c.queue, ends)
	for at := 0; at < int(ends.count); at++ {
		if ended := c.end(ends.names[at]); ended != nil {
			ended.reply = replyOf(&ends.completions[at].result)
			close(ended.ended)
		}
	}
	C.free_ends(ends)
	return ends.count > 0
}

// pointer is where bytes are. C is given it for one call, which keeps nothing. It is one to bytes, so that cgo looks for
// no pointers around them.
func pointer(bytes []byte) (*C.char, C.size_t) {
	if len(bytes) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&bytes[0])), C.size_t(len(bytes))
}

// milliseconds are rounded down, so that the C library's deadline is not behind a context's; 0 is none.
func milliseconds(time time.Duration) C.uint32_t {
	if time > deadlineMax {
		time = deadlineMax
	}
	if time < 0 {
		time = 0
	}
	return C.uint32_t(time.Milliseconds())
}

func flag(is bool) C.uint8_t {
	if is {
		return 1
	}
	return 0
}
