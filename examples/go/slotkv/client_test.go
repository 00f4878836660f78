package slotkv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

var background = context.Background()

// failure is the error that there must be.
func failure(t *testing.T, err error, code Code, outcome Outcome) *Error {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != code || failed.Outcome != outcome {
		t.Fatalf("%v (%#v) is not %v, outcome %v", err, failed, code, outcome)
	}
	return failed
}

// inFlight waits until calls of a client are on their way.
func inFlight(t *testing.T, client *Client, count uint64) {
	t.Helper()
	await(t, "calls in flight", func() bool {
		stats, err := client.Stats()
		must(t, err)
		return stats.InFlight == count
	})
}

func TestKeysOfAnyBytesArePutGotAndDeleted(t *testing.T) {
	client := connected(t)
	for _, key := range []string{"key", "a\x00b", "\xff\xfe", "ключ", strings.Repeat("k", 1000)} {
		for _, value := range [][]byte{{}, nil, []byte("value"), {0, 255, 0}, make([]byte, 1<<20)} {
			put, err := client.Put(background, key, value)
			must(t, err)
			entry, err := client.Get(background, key)
			must(t, err)
			if !put.Done() || !entry.Found || entry.Version != put.Version || string(entry.Value) != string(value) {
				t.Fatalf("%q: %v and %d bytes of %d", key, put, len(entry.Value), len(value))
			}
			if entry.Value == nil {
				t.Fatal("a value that is there is not nil")
			}
		}
		has, err := client.Has(background, key)
		must(t, err)
		gone, err := client.Delete(background, key)
		must(t, err)
		entry, err := client.Get(background, key)
		must(t, err)
		if !has || gone.Status != StatusDeleted || entry.Found || entry.Value != nil {
			t.Fatal(has, gone, entry)
		}
	}
}

func TestALifetimeIsADurationAndEnds(t *testing.T) {
	client := connected(t)
	_, err := client.PutFor(background, "lasting", []byte("1"), time.Hour)
	must(t, err)
	entry, err := client.Get(background, "lasting")
	must(t, err)
	if entry.TTL <= 58*time.Minute || entry.TTL > time.Hour {
		t.Fatal(entry.TTL)
	}
	forever, err := client.Expire(background, "lasting", 0)
	must(t, err)
	entry, err = client.Get(background, "lasting")
	must(t, err)
	if !forever.Done() || entry.TTL != 0 {
		t.Fatal(forever, entry)
	}
	_, err = client.Expire(background, "lasting", 20*time.Millisecond)
	must(t, err)
	for entry.Found {
		time.Sleep(entry.TTL)
		entry, err = client.Get(background, "lasting")
		must(t, err)
	}
	unmet, err := client.Expire(background, "lasting", time.Hour)
	must(t, err)
	if unmet.Status != StatusUnmet {
		t.Fatal(unmet)
	}
	if _, err := client.PutFor(background, "lasting", nil, -time.Hour); err == nil {
		t.Fatal("a lifetime below 0")
	}
}

func TestAReadOfALowerLevelGoesToAnyReplica(t *testing.T) {
	started := start(t, "--replicas", "2")
	client, err := Connect(background, started.uri, Options{Deadline: patience})
	must(t, err)
	defer client.Close()
	put, err := client.Put(background, "key", []byte("value"))
	must(t, err)
	connects := func() uint64 {
		stats, err := client.Stats()
		must(t, err)
		return stats.Connects
	}
	_, err = client.Get(background, "key")
	must(t, err)
	primaries := connects()
	for _, level := range []ReadLevel{Linearizable, Session, Bounded(time.Minute), Stale} {
		view := client.WithReadLevel(level)
		entry, err := view.Get(background, "key")
		must(t, err)
		// Only stale may be older than what this client wrote itself less than a minute ago.
		if level != Stale && level != Bounded(time.Minute) && entry.Version != put.Version {
			t.Fatal(level, entry)
		}
		if level == Linearizable && connects() != primaries {
			t.Fatal("a linearizable read went to a backup")
		}
		_, err = view.Has(background, "key")
		must(t, err)
		entries, err := view.GetMany(background, []string{"key", "nobody"})
		must(t, err)
		if len(entries) != 2 {
			t.Fatal(entries)
		}
		_, err = view.Count(background, Range{})
		must(t, err)
		scan := view.Scan(Range{}, nil)
		for scan.Next(background) {
		}
		must(t, scan.Err())
	}
	// A client opens connections to backups with its first read that they may answer.
	if connects() == primaries {
		t.Fatal("no read of a lower level went to a backup")
	}
	_, err = client.WithReadLevel(ReadLevel{number: 9}).Get(background, "key")
	failure(t, err, CodeInvalidArgument, OutcomeFailed)
	_, err = client.WithReadLevel(Bounded(time.Hour)).Get(background, "key")
	must(t, err)
}

func TestTheStatusTellsHowEveryCopyIs(t *testing.T) {
	started := start(t, "--shards", "1", "--replicas", "2", "--check-interval", "200ms")
	client, err := Connect(background, started.uri, Options{Deadline: patience})
	must(t, err)
	defer client.Close()
	var status ClusterStatus
	await(t, "two copies that were compared", func() bool {
		_, err := client.Put(background, "key", nil)
		must(t, err)
		status, err = client.Status(background)
		must(t, err)
		copies := status.Shards[0].Copies
		return len(status.Shards[0].ISR) == 2 && len(copies) == 2 && copies[0].Checks > 0 && copies[1].Checks > 0
	})
	if status.ClusterID == "" || status.SlotCount != 1024 || status.TableVersion == 0 || status.MasterEpoch == 0 ||
		status.ShardsAnnounced != 1 || len(status.Masters) != 2 || len(status.Members) != 2 {
		t.Fatalf("%+v", status)
	}
	if first, second := status.Masters[0], status.Masters[1]; first.Leader == second.Leader || first.Address == second.Address {
		t.Fatalf("%+v", status.Masters)
	}
	shard := status.Shards[0]
	expected := ShardStatus{
		Epoch: shard.Epoch, State: "leader", Primary: shard.Primary, ISR: shard.ISR, Ack: "all", MinISR: 1,
		Durability: "sync", Weight: 1, Slots: 1024, Replicas: 2, Preferred: shard.Preferred, Copies: shard.Copies,
	}
	if shard.Epoch == 0 || !strings.HasPrefix(shard.Preferred, "worker-0-") || !reflect.DeepEqual(shard, expected) {
		t.Fatalf("%+v", shard)
	}
	for at, its := range shard.Copies {
		name, state := fmt.Sprintf("worker-0-%d", at), "in sync"
		if name == shard.Primary {
			state = "leader"
		}
		member := status.Members[at]
		expected := ReplicaStatus{
			Name: name, State: state, SinceMs: its.SinceMs, Live: true, InISR: true, Address: member.Address,
			Checks: its.Checks, CopiesBegun: its.CopiesBegun, CopiesInstalled: its.CopiesBegun,
		}
		if its.SinceMs == 0 || member.Address == "" || its != expected {
			t.Fatalf("%+v", its)
		}
		if member.Run == "" || member != (MemberStatus{name, member.Run, its.Address, 0, true, ""}) {
			t.Fatalf("%+v", member)
		}
	}
	if isr := strings.Join(shard.ISR, " "); !strings.Contains(isr, "worker-0-0") || !strings.Contains(isr, "worker-0-1") {
		t.Fatal(isr)
	}
	must(t, client.Close())
	_, err = client.Status(background)
	failure(t, err, CodeClosed, OutcomeFailed)
}

func TestASessionGoesOnWhereItsTokenStands(t *testing.T) {
	client := connected(t)
	session, err := client.WithSessionToken(nil)
	must(t, err)
	token := func(client *Client) string {
		token, err := client.SessionToken()
		must(t, err)
		return string(token)
	}
	nothing := token(session)
	_, err = client.Put(background, "key", []byte("1"))
	must(t, err)
	if token(session) != nothing {
		t.Fatal("what others do does not count")
	}
	put, err := session.Put(background, "key", []byte("2"))
	must(t, err)
	if token(session) == nothing || token(client) == nothing {
		t.Fatal("what its own calls do counts")
	}
	elsewhere, err := Connect(background, cluster.uri, Options{Namespace: t.Name(), Zone: "here"})
	must(t, err)
	defer elsewhere.Close()
	goesOn, err := elsewhere.WithSessionToken([]byte(token(session)))
	must(t, err)
	if token(goesOn) != token(session) {
		t.Fatal("the token is that of the session")
	}
	for _, view := range []*Client{goesOn, goesOn.WithReadLevel(Linearizable), client.WithReadLevel(Session)} {
		entry, err := view.Get(background, "key")
		must(t, err)
		if entry.Version != put.Version {
			t.Fatal(entry, put)
		}
	}
	_, err = client.WithSessionToken([]byte("\x01nonsense"))
	failure(t, err, CodeInvalidArgument, OutcomeFailed)
	_, err = client.WithSessionToken([]byte("\x02"))
	failure(t, err, CodeUnsupported, OutcomeFailed)
}

func TestASessionThatNobodyHasIsClosed(t *testing.T) {
	client := connected(t)
	// Its handle, which does not keep it.
	handle := func() session {
		made, err := client.WithSessionToken(nil)
		must(t, err)
		_, err = made.Put(background, "key", nil)
		must(t, err)
		return *made.view.session
	}()
	left := &Client{client.connection, view{Session, &handle}}
	_, err := left.SessionToken()
	must(t, err)
	await(t, "the session's end", func() bool {
		runtime.GC()
		_, err = left.SessionToken()
		return err != nil
	})
	failure(t, err, CodeClosed, OutcomeFailed)
}

func TestAValueMayBePartOfSomethingWithPointers(t *testing.T) {
	client := connected(t)
	whole := &struct {
		other *int
		bytes [8]byte
	}{new(int), [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}
	_, err := client.Put(background, "key", whole.bytes[2:4])
	must(t, err)
	entry, err := client.Get(background, "key")
	must(t, err)
	if string(entry.Value) != "\x03\x04" {
		t.Fatal(entry)
	}
}

func TestConditionsAreResultsAndNotErrors(t *testing.T) {
	client := connected(t)
	first, err := client.PutIfAbsent(background, "key", []byte("1"))
	must(t, err)
	for _, unmet := range []func() (Write, error){
		func() (Write, error) { return client.PutIfAbsent(background, "key", []byte("2")) },
		func() (Write, error) { return client.CompareAndSet(background, "key", []byte("2"), first.Version+1) },
		func() (Write, error) { return client.DeleteIfVersion(background, "key", first.Version+1) },
	} {
		write, err := unmet()
		must(t, err)
		if write.Status != StatusUnmet || write.Done() || write.Version != first.Version {
			t.Fatal(write)
		}
	}
	second, err := client.CompareAndSet(background, "key", []byte("2"), first.Version)
	must(t, err)
	gone, err := client.DeleteIfVersion(background, "key", second.Version)
	must(t, err)
	absent, err := client.UpdateIfPresent(background, "key", nil)
	must(t, err)
	if second.Status != StatusUpdated || gone.Status != StatusDeleted || absent.Status.String() != "unmet" {
		t.Fatal(second, gone, absent)
	}
}

func TestErrorsTellWhatHappened(t *testing.T) {
	client := connected(t)
	_, err := client.Put(background, "word", []byte("no number"))
	must(t, err)
	_, err = client.Increment(background, "word", 1)
	failed := failure(t, err, CodeNotANumber, OutcomeFailed)
	if failed.Retryable || failed.Retry != "never" || failed.Member == "" || failed.Attempts != 1 || failed.Unwrap() != nil {
		t.Fatalf("%#v", failed)
	}
	if !strings.HasPrefix(err.Error(), "slotkv: NOT_A_NUMBER: ") {
		t.Fatal(err)
	}
	_, err = client.Get(background, "")
	failure(t, err, CodeInvalidArgument, OutcomeFailed)
	_, err = client.Get(background, strings.Repeat("x", 1<<25))
	failure(t, err, CodeTooLarge, OutcomeFailed)
}

func TestEachOfManyKeysHasItsResult(t *testing.T) {
	client := connected(t)
	pairs := []Pair{{"a", []byte("1")}, {strings.Repeat("x", 40_000), nil}, {"", nil}, {"d", []byte{}}}
	puts, err := client.PutMany(background, pairs)
	failure(t, err, CodeTooLarge, OutcomeFailed)
	failure(t, puts[1].Err, CodeTooLarge, OutcomeFailed)
	failure(t, puts[2].Err, CodeInvalidArgument, OutcomeFailed)
	if len(puts) != 4 || puts[0].Status != StatusCreated || puts[3].Status != StatusCreated {
		t.Fatal(puts)
	}
	entries, err := client.GetMany(background, []string{"d", "nobody", "a"})
	must(t, err)
	if !entries[0].Found || entries[1].Found || string(entries[2].Value) != "1" {
		t.Fatal(entries)
	}
	gone, err := client.DeleteMany(background, []string{"a", "a"})
	must(t, err)
	if len(gone) != 2 || gone[0].Err != nil {
		t.Fatal(gone)
	}
	none, err := client.GetMany(background, nil)
	if err != nil || len(none) != 0 {
		t.Fatal(none, err)
	}
}

func TestAScanGoesOnFromAnyItem(t *testing.T) {
	client := connected(t)
	keys := make([]string, 50)
	for number := range keys {
		keys[number] = fmt.Sprintf("%04d", number)
		_, err := client.Put(background, keys[number], []byte(keys[number]))
		must(t, err)
	}
	for _, ordered := range []bool{true, false} {
		for _, taken := range []int{0, 1, 7, 20, 50} {
			all, seen := Range{Prefix: "00", Ordered: ordered, PageItems: 7}, map[string]bool{}
			scan := client.Scan(all, nil)
			for len(seen) < taken && scan.Next(background) {
				seen[scan.Item().Key] = true
			}
			cursor, err := scan.Cursor()
			must(t, err)
			if (cursor == nil) != (taken == 0) {
				t.Fatal(taken, cursor)
			}
			rest := client.Scan(all, cursor)
			for number := taken; rest.Next(background); number++ {
				item := rest.Item()
				if seen[item.Key] || item.Key != string(item.Value) || (ordered && item.Key != keys[number]) {
					t.Fatal(taken, number, item)
				}
				seen[item.Key] = true
			}
			must(t, rest.Err())
			if len(seen) != len(keys) {
				t.Fatalf("%d of %d", len(seen), len(keys))
			}
		}
	}
	broken := client.Scan(Range{}, []byte("no cursor"))
	if broken.Next(background) {
		t.Fatal(broken.Item())
	}
	failure(t, broken.Err(), CodeUnsupported, OutcomeFailed)
}

func TestACallWhoseContextHasEndedIsNotBegun(t *testing.T) {
	client := connected(t)
	before, err := client.Stats()
	must(t, err)
	cancelled, cancel := context.WithCancel(background)
	cancel()
	late, cancel := context.WithDeadline(background, time.Now().Add(-time.Second))
	defer cancel()
	_, err = client.Put(cancelled, "key", nil)
	failure(t, err, CodeCancelled, OutcomeFailed)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	_, err = client.PutMany(late, []Pair{{"key", nil}})
	failure(t, err, CodeTimeout, OutcomeFailed)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	_, err = Connect(cancelled, cluster.uri, Options{})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	after, err := client.Stats()
	must(t, err)
	if after.Submissions != before.Submissions {
		t.Fatal(before, after)
	}
}

func TestACallIsCancelledByItsContext(t *testing.T) {
	client := connected(t)
	_, err := client.Put(background, "key", []byte("before"))
	must(t, err)
	resume := pause(t)
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error)
	go func() {
		_, err := client.Put(ctx, "key", []byte("after"))
		ended <- err
	}()
	go func() {
		_, err := client.GetMany(ctx, []string{"key"})
		ended <- err
	}()
	inFlight(t, client, 2)
	cancel()
	outcomes := map[Outcome]int{}
	for range [2]int{} {
		err := <-ended
		var failed *Error
		if !errors.Is(err, context.Canceled) || !errors.As(err, &failed) || failed.Code != CodeCancelled {
			t.Fatal(err)
		}
		outcomes[failed.Outcome]++
	}
	// That of the put: it was sent.
	if outcomes[OutcomeUnknown] == 0 {
		t.Fatal(outcomes)
	}
	inFlight(t, client, 0)
	resume()
	_, err = client.Get(background, "key")
	must(t, err)
	stats, err := client.Stats()
	must(t, err)
	if stats.CallsCancelled != 2 {
		t.Fatal(stats)
	}
}

func TestAContextsDeadlineIsTheCalls(t *testing.T) {
	client := connected(t)
	_, err := client.Get(background, "key")
	must(t, err)
	pause(t)
	const limit = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(background, limit)
	defer cancel()
	start := time.Now()
	_, err = client.Put(ctx, "key", nil)
	took := time.Since(start)
	failure(t, err, CodeTimeout, OutcomeUnknown)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if took < limit-10*time.Millisecond || took > limit+5*time.Second {
		t.Fatal(took)
	}
}

func TestAShortDeadlineOfTheClientIsOverruledByTheContexts(t *testing.T) {
	short, err := Connect(background, cluster.uri, Options{Namespace: t.Name(), Deadline: 50 * time.Millisecond})
	must(t, err)
	defer short.Close()
	ctx, cancel := context.WithTimeout(background, time.Hour)
	defer cancel()
	_, err = short.Get(ctx, "key")
	must(t, err)
	resume := pause(t)
	_, err = short.Get(background, "key")
	failure(t, err, CodeTimeout, OutcomeFailed)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("of a context that has no deadline")
	}
	ended := make(chan error)
	go func() {
		_, err := short.Get(ctx, "key")
		ended <- err
	}()
	inFlight(t, short, 1)
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(300 * time.Millisecond):
	}
	resume()
	must(t, <-ended)
}

func TestAClosedClientSaysSo(t *testing.T) {
	client := connected(t)
	goroutines := runtime.NumGoroutine()
	other, err := Connect(background, cluster.uri, Options{Namespace: t.Name()})
	must(t, err)
	pause(t)
	const calls = 100
	ended := make(chan error, calls)
	for range [calls]int{} {
		go func() {
			_, err := other.Put(background, "key", nil)
			ended <- err
		}()
	}
	inFlight(t, other, calls)
	start := time.Now()
	must(t, other.Close())
	if took := time.Since(start); took > 10*time.Second {
		t.Fatal(took)
	}
	for range [calls]int{} {
		var failed *Error
		if err := <-ended; !errors.As(err, &failed) || failed.Code != CodeClosed {
			t.Fatal(err)
		}
	}
	must(t, other.Close())
	_, err = other.Get(background, "key")
	failure(t, err, CodeClosed, OutcomeFailed)
	_, err = other.GetMany(background, []string{"key"})
	failure(t, err, CodeClosed, OutcomeFailed)
	if scan := other.Scan(Range{}, nil); scan.Next(background) {
		t.Fatal(scan.Item())
	}
	if _, err = other.Stats(); err == nil {
		t.Fatal("stats of a closed client")
	}
	await(t, "the reader's end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if client.isRead == nil {
		t.Fatal("the other one")
	}
}

func TestGoroutinesShareAClientAndHoldNoThreads(t *testing.T) {
	client := connected(t)
	const goroutines, rounds = 1000, 10
	threads := pprof.Lookup("threadcreate").Count()
	var waiting sync.WaitGroup
	for number := 0; number < goroutines; number++ {
		waiting.Add(1)
		go func(number int) {
			defer waiting.Done()
			own := fmt.Sprintf("own/%d", number)
			for round := 0; round < rounds; round++ {
				sum, err := client.Increment(background, own, 1)
				if err != nil || sum != int64(round)+1 {
					t.Error(own, sum, err)
				}
				if _, err := client.Increment(background, "all", 1); err != nil {
					t.Error(err)
				}
			}
		}(number)
	}
	waiting.Wait()
	sum, err := client.Increment(background, "all", 0)
	must(t, err)
	if sum != goroutines*rounds {
		t.Fatal(sum)
	}
	stats, err := client.Stats()
	must(t, err)
	if stats.Wakeups > stats.Calls/4 {
		t.Fatalf("%d wake-ups for %d calls", stats.Wakeups, stats.Calls)
	}
	if more := pprof.Lookup("threadcreate").Count() - threads; more > 50 {
		t.Fatalf("%d threads more for %d goroutines", more, goroutines)
	}
}

func TestCallsThatAreCancelledAndClosedAtAnyMomentEndOnce(t *testing.T) {
	for round := 0; round < 20; round++ {
		client, err := Connect(background, cluster.uri, Options{Namespace: t.Name()})
		must(t, err)
		var waiting sync.WaitGroup
		for number := 0; number < 50; number++ {
			waiting.Add(1)
			go func(number int) {
				defer waiting.Done()
				for call := 0; call < 20; call++ {
					ctx, cancel := context.WithTimeout(background, time.Duration(number*call)*20*time.Microsecond)
					_, err := client.Put(ctx, "key", []byte("value"))
					var failed *Error
					if err != nil && (!errors.As(err, &failed) ||
						failed.Code != CodeTimeout && failed.Code != CodeCancelled && failed.Code != CodeClosed) {
						t.Error(err)
					}
					cancel()
				}
			}(number)
		}
		if round%2 == 0 {
			must(t, client.Close())
		}
		waiting.Wait()
		client.lock.Lock()
		left := len(client.calls)
		client.lock.Unlock()
		if left != 0 {
			t.Fatal(left)
		}
		must(t, client.Close())
	}
}

func TestConnectingEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer silent.Close()
	ctx, cancel := context.WithCancel(background)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = Connect(ctx, "slotkv://"+silent.Addr().String(), Options{ConnectTimeout: 2 * time.Second})
	failure(t, err, CodeCancelled, OutcomeFailed)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = Connect(ctx, "slotkv://"+silent.Addr().String(), Options{})
	if err == nil || time.Since(start) > 5*time.Second {
		t.Fatal(err, time.Since(start))
	}
	_, err = Connect(background, "redis://127.0.0.1:1", Options{})
	failure(t, err, CodeInvalidArgument, OutcomeFailed)
	for _, options := range []Options{{Namespace: "a\x00b"}, {Zone: "a\x00b"}} {
		_, err = Connect(background, cluster.uri, options)
		failure(t, err, CodeInvalidArgument, OutcomeFailed)
	}
	_, err = Connect(background, cluster.uri, Options{Zone: strings.Repeat("z", 1000)})
	failure(t, err, CodeInvalidArgument, OutcomeFailed)
}
