package slotkv

/*
#include <slotkv.h>

static slotkv_code_t open_session(const char *token, size_t size, slotkv_session_t *session, slotkv_result_t *result) {
    return slotkv_session_open(slotkv_bytes(token, size), session, result);
}
*/
import "C"

import (
	"runtime"
	"time"
)

// A ReadLevel says how fresh the answers of reads have to be: Get, Has, GetMany, Count and scans. All levels but
// Linearizable are answered by any replica that is fresh enough, backups included.
type ReadLevel struct {
	number    C.uint32_t
	staleness C.uint32_t
}

var (
	// Linearizable is what the key holds at the time of the read. The primary answers.
	Linearizable = ReadLevel{number: C.SLOTKV_READ_LEVEL_LINEARIZABLE}
	// Session is not older than what the session has written or read before.
	Session = ReadLevel{number: C.SLOTKV_READ_LEVEL_SESSION}
	// Stale is perhaps old, by however much.
	Stale = ReadLevel{number: C.SLOTKV_READ_LEVEL_STALE}
)

// Bounded is older by no more than a time of whole milliseconds, up to 300 s.
func Bounded(staleness time.Duration) ReadLevel {
	return ReadLevel{number: C.SLOTKV_READ_LEVEL_BOUNDED, staleness: milliseconds(staleness)}
}

// What a client says differently from its connection; nothing, unless it is a view.
type view struct {
	level   ReadLevel
	session *session
}

// A session of a view's own.
type session struct {
	handle C.slotkv_session_t
}

// WithReadLevel gives the same client with another freshness of reads. A session is all that the client has written and
// read, whichever of its views did it, unless WithSessionToken began one of its own.
func (c *Client) WithReadLevel(level ReadLevel) *Client {
	return &Client{c.connection, view{level, c.view.session}}
}

// WithSessionToken gives the same client for a session that goes on where a token stands: its reads are not older than
// the token, and than what it has written and read itself; what others do does not count. No bytes begin a session that
// has seen nothing.
func (c *Client) WithSessionToken(token []byte) (*Client, error) {
	var result C.slotkv_result_t
	defer func() { C.slotkv_result_free(&result) }()
	from, size := pointer(token)
	made := &session{}
	if C.open_session(from, size, &made.handle, &result) != C.SLOTKV_CODE_OK {
		return nil, errorOf(&result)
	}
	runtime.SetFinalizer(made, func(ended *session) { C.slotkv_session_close(ended.handle, nil) })
	return &Client{c.connection, view{Session, made}}, nil
}

// SessionToken is what the session has seen: opaque bytes for WithSessionToken, here or in another process or language.
func (c *Client) SessionToken() ([]byte, error) {
	var result C.slotkv_result_t
	defer func() { C.slotkv_result_free(&result) }()
	code := C.slotkv_code_t(C.SLOTKV_CODE_OK)
	if its := c.view.session; its != nil {
		code = C.slotkv_session_seen(its.handle, &result)
		runtime.KeepAlive(its)
	} else {
		code = C.slotkv_queue_session_token(c.queue, &result)
	}
	if code != C.SLOTKV_CODE_OK {
		return nil, errorOf(&result)
	}
	return copyOf(result.value), nil
}

// options are those of each call.
func (v view) options() C.slotkv_call_options_t {
	options := C.slotkv_call_options()
	options.read_level, options.staleness_ms = v.level.number, v.level.staleness
	if v.session != nil {
		options.session = v.session.handle
	}
	return options
}
