package slotkv

// #include <slotkv.h>
import "C"

import (
	"context"
	"errors"
	"unsafe"
)

// Code is what kind of error one is. Numbers are stable; docs/errors.md explains each.
type Code int32

// The codes.
const (
	CodeInvalidArgument Code = C.SLOTKV_CODE_INVALID_ARGUMENT
	CodeTooLarge        Code = C.SLOTKV_CODE_TOO_LARGE
	CodeUnsupported     Code = C.SLOTKV_CODE_UNSUPPORTED
	CodeDenied          Code = C.SLOTKV_CODE_DENIED
	CodeWrongCluster    Code = C.SLOTKV_CODE_WRONG_CLUSTER
	CodeNotANumber      Code = C.SLOTKV_CODE_NOT_A_NUMBER
	CodeOverflow        Code = C.SLOTKV_CODE_OVERFLOW
	CodeMoved           Code = C.SLOTKV_CODE_MOVED
	CodeRetry           Code = C.SLOTKV_CODE_RETRY
	CodeNotPrimary      Code = C.SLOTKV_CODE_NOT_PRIMARY
	CodeReadOnly        Code = C.SLOTKV_CODE_READ_ONLY
	CodeOverloaded      Code = C.SLOTKV_CODE_OVERLOADED
	CodeUnavailable     Code = C.SLOTKV_CODE_UNAVAILABLE
	CodeNoMaster        Code = C.SLOTKV_CODE_NO_MASTER
	CodeShuttingDown    Code = C.SLOTKV_CODE_SHUTTING_DOWN
	CodeTimeout         Code = C.SLOTKV_CODE_TIMEOUT
	CodeConnectionLost  Code = C.SLOTKV_CODE_CONNECTION_LOST
	CodeSteppedDown     Code = C.SLOTKV_CODE_STEPPED_DOWN
	CodeIndeterminate   Code = C.SLOTKV_CODE_INDETERMINATE
	CodeCancelled       Code = C.SLOTKV_CODE_CANCELLED
	CodeDamaged         Code = C.SLOTKV_CODE_DAMAGED
	CodeClosed          Code = C.SLOTKV_CODE_CLOSED
	CodeForked          Code = C.SLOTKV_CODE_FORKED
	CodeUnexpected      Code = C.SLOTKV_CODE_UNEXPECTED
)

// String is the code's name, as "TIMEOUT".
func (c Code) String() string {
	return C.GoString(C.slotkv_code_name(C.int32_t(c)))
}

// What an operation did or found.
const (
	StatusNone     Status = C.SLOTKV_STATUS_NONE
	StatusCreated  Status = C.SLOTKV_STATUS_CREATED
	StatusUpdated  Status = C.SLOTKV_STATUS_UPDATED
	StatusUnmet    Status = C.SLOTKV_STATUS_UNMET
	StatusDeleted  Status = C.SLOTKV_STATUS_DELETED
	StatusNotFound Status = C.SLOTKV_STATUS_NOT_FOUND
	StatusFound    Status = C.SLOTKV_STATUS_FOUND
	// Of Outcome: it was not applied and never will be; nobody knows any more.
	StatusNotApplied Status = C.SLOTKV_STATUS_NOT_APPLIED
	StatusForgotten  Status = C.SLOTKV_STATUS_FORGOTTEN
)

// String is as in every language.
func (s Status) String() string {
	names := [...]string{"none", "created", "updated", "unmet", "deleted", "not_found", "found", "not_applied", "forgotten"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Outcome is whether an operation that did not succeed was applied.
type Outcome int32

const (
	// OutcomeFailed is provably not, by none of its attempts.
	OutcomeFailed Outcome = C.SLOTKV_OUTCOME_FAILED
	// OutcomeUnknown is that it may have been applied, or may yet be.
	OutcomeUnknown Outcome = C.SLOTKV_OUTCOME_UNKNOWN
)

// String is "failed" or "unknown".
func (o Outcome) String() string {
	if o == OutcomeFailed {
		return "failed"
	}
	return "unknown"
}

// An Error says what happened, whether to retry, whether it was applied, and where. Every error of this package is one:
//
//	var failure *slotkv.Error
//	if errors.As(err, &failure) && failure.Outcome == slotkv.OutcomeUnknown { ... }
//
// That of a call that its context ended is also the context's: errors.Is(err, context.Canceled).
type Error struct {
	Code    Code
	Outcome Outcome
	// Retry is what may be done now: "never", "reroute", "backoff" or "ask".
	Retry string
	// Retryable tells whether the very same call may be repeated without thinking.
	Retryable bool
	Message   string
	// Member is the host:port that answered or was to answer last; empty if none was asked.
	Member string
	// Attempts is how often the operation was sent, or tried to be.
	Attempts int
	// Causes is what the layers below said, the nearest first.
	Causes []string
	// Token of a write whose outcome is unknown: Client.Outcome tells by it what came of it.
	Token []byte

	ended error
}

// Error is for people.
func (e *Error) Error() string {
	text := "slotkv: " + e.Code.String() + ": " + e.Message
	if e.Outcome == OutcomeUnknown {
		text += " (it may have been applied)"
	}
	return text
}

// Unwrap gives the error of the context that ended the call, if one did.
func (e *Error) Unwrap() error {
	return e.ended
}

// unsent is an error of this package's own, of a call that was not begun.
func unsent(code Code, message string) *Error {
	return &Error{Code: code, Outcome: OutcomeFailed, Retry: "never", Message: message}
}

// byContext says of a call that it was its context that ended it.
func (e *Error) byContext(ctx context.Context) *Error {
	e.ended = ctx.Err()
	// The C library's own deadline may come a moment later than the context's.
	if errors.Is(e.ended, context.DeadlineExceeded) {
		e.Code = CodeTimeout
	}
	return e
}

// errorOf copies an error of the C library's.
func errorOf(result *C.slotkv_result_t) *Error {
	if result.code == C.SLOTKV_CODE_OK {
		return nil
	}
	its := result.error
	if its == nil {
		// The library had no room for more than the code.
		return &Error{Code: Code(result.code), Outcome: OutcomeUnknown, Retry: "ask"}
	}
	err := &Error{
		Code:      Code(its.code),
		Outcome:   Outcome(its.outcome),
		Retry:     C.GoString(C.slotkv_retry_name(C.int32_t(its.retry))),
		Retryable: bool(its.retryable),
		Message:   C.GoString(its.message),
		Member:    C.GoString(its.member),
		Attempts:  int(its.attempts),
	}
	if its.token.data != nil {
		err.Token = C.GoBytes(its.token.data, C.int(its.token.size))
	}
	for _, cause := range unsafe.Slice(its.causes, its.causes_count) {
		err.Causes = append(err.Causes, C.GoString(cause))
	}
	return err
}
