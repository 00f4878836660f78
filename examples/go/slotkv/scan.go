package slotkv

import (
	"context"
	"time"
)

// A Range says which keys: those that begin with Prefix, from Start on, below End. The zero Range is all keys.
type Range struct {
	Prefix, Start, End string
	// Ordered is key order, which costs more; otherwise keys come in slot order.
	Ordered bool
	// KeysOnly leaves the values out.
	KeysOnly bool
	// PageItems is how many items are fetched at once; 1000.
	PageItems uint32
}

// An Item is a key of a scan.
type Item struct {
	Key     string
	Value   []byte
	Version uint64
	Slot    uint16
	// TTL is what is left of the key's lifetime; 0 if it lives for ever.
	TTL time.Duration
}

// A Scan goes over the keys of a range. It is for one goroutine at a time.
//
//	for scan := client.Scan(keys, nil); scan.Next(ctx); {
//		use(scan.Item())
//	}
type Scan struct {
	client *Client
	keys   Range
	// page has what was fetched, and not taken yet.
	page []Item
	item Item
	// next is the cursor of the next page; nil before the first and behind the last one.
	next    []byte
	begin   []byte
	isTaken bool
	isLast  bool
	err     error
}

// Scan begins one. A cursor comes from an earlier scan of the same range, in any process and language; nil is the
// beginning. Nothing is sent yet.
func (c *Client) Scan(keys Range, cursor []byte) *Scan {
	return &Scan{client: c, keys: keys, next: cursor, begin: cursor}
}

// Next goes to the next item, and fetches a page if none is here; false behind the last one and after an error. After an
// error the same place is tried again. The context's deadline is for each page.
func (s *Scan) Next(ctx context.Context) bool {
	s.err = nil
	for len(s.page) == 0 {
		if s.isLast {
			return false
		}
		reply, err := s.client.ranged(ctx, kindPage, s.keys, s.next)
		if err != nil {
			s.err = err
			return false
		}
		// An empty page does not end a scan.
		s.page, s.next, s.isLast = reply.items, reply.cursor, reply.cursor == nil
	}
	s.item, s.page, s.isTaken = s.page[0], s.page[1:], true
	return true
}

// Item is where Next went.
func (s *Scan) Item() Item {
	return s.item
}

// Err is why the last Next did not go on; nil behind the last item.
func (s *Scan) Err() error {
	return s.err
}

// Cursor tells where the scan stands, behind the last item that was taken: plain bytes, from which another scan of the
// same range goes on. It is nil while none was taken and the scan began at the beginning.
func (s *Scan) Cursor() ([]byte, error) {
	if !s.isTaken {
		return s.begin, nil
	}
	return s.client.cursorBehind(s.keys, s.item)
}
