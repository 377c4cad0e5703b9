package actors

// batches brings things to the store in calls of a bounded size, one at a time: what
// is added while a call is in flight goes with the next one, so that batches grow under
// load. A call that is not answered is repeated as it is. One whose own fault that is
// (see faultOwn) is divided, down to a single thing, so that one that the store cannot
// take does not keep the others from it; calls grow again when they are answered.
type batches[T any] struct {
	// count and bytes bound a call. One thing alone may weigh more.
	count, bytes int
	weigh        func(T) int

	waiting []T
	sent    []T // in the call that is in flight or to be repeated
	tries   tries
	// most is how many a call may have, after one was divided; 0 is count.
	most int
}

func (b *batches[T]) add(things ...T) { b.waiting = append(b.waiting, things...) }

// replace has others brought instead of those that wait.
func (b *batches[T]) replace(things []T) { b.waiting = things }

func (b *batches[T]) size() int { return len(b.waiting) + len(b.sent) }

// next returns what the next call is to bring; fresh is false for one that is
// repeated.
func (b *batches[T]) next(l *line) (batch []T, fresh bool) {
	if len(b.sent) > 0 || len(b.waiting) == 0 {
		return b.sent, false
	}
	limit := b.count
	if b.most > 0 {
		limit = min(limit, b.most)
	}
	n, weight := 0, 0
	for n < min(limit, len(b.waiting)) {
		if weight += b.weigh(b.waiting[n]); n > 0 && weight > b.bytes {
			break
		}
		n++
	}
	b.sent = b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.tries = l.first()
	if b.most > 0 {
		b.tries.answers-- // that others are answered was seen when a call was divided
	}
	return b.sent, true
}

// answered returns what the call has brought.
func (b *batches[T]) answered() []T {
	batch := b.sent
	b.sent = nil
	if b.most *= 2; b.most > b.count {
		b.most = 0
	}
	return batch
}

// failed takes note of a call that has failed. It reports whether the call was divided;
// one with a single thing cannot be.
func (b *batches[T]) failed(l *line, err error) (why fault, divided bool) {
	why = l.failed(&b.tries, err)
	if why == faultAway || len(b.sent) <= 1 {
		return why, false
	}
	b.most = (len(b.sent) + 1) / 2
	b.waiting = append(b.sent, b.waiting...)
	b.sent = nil
	return why, true
}

// putBack lets the others go first.
func (b *batches[T]) putBack() {
	b.waiting = append(b.waiting, b.sent...)
	b.sent = nil
}
