package relay

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// read reads batches from a sequence on, at least one and up to to, and waits for a
// replica that has them. What is gone may be told up to clip.
func (f *feed) read(ctx context.Context, from, to, clip uint64) ([]*packet, error) {
	leader := false
	for i := 1; ; i++ {
		packets, err := f.readOnce(ctx, from, to, clip, leader)
		if !errors.Is(err, errReplica) || ctx.Err() != nil {
			return packets, err
		}
		if hole := errors.Is(err, errHole); hole && !leader {
			leader = true
			continue
		}
		leader = i%8 == 0
		sleep(ctx, 10*time.Millisecond)
	}
}

// readOnce is read without patience. errReplica says that the replica that answered is
// not up to date.
//
// The leader is asked for the incarnation afterwards: what was read is of this one if it
// still is then. Direct gets and their answers do not tell.
func (f *feed) readOnce(ctx context.Context, from, to, clip uint64, leader bool) ([]*packet, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var got []stored
	var err error
	if leader {
		var one stored
		if one, err = leaderGet(ctx, f.g.Conn, f.name, from); err == nil {
			got = append(got, one)
		}
	} else {
		got, err = directGet(ctx, f.g.Conn, f.name, from, int(min(to-from+1, readBatches)), readBytes)
	}
	missing := leader && errors.Is(err, errNoMessage)
	if err != nil && !missing {
		return nil, err
	}
	info, err := f.lookup(ctx)
	switch {
	case err != nil:
		return nil, err
	case info.Incarnation != f.incarnation:
		return nil, ErrIncarnation
	case len(got) > 0:
		return f.packets(got, info.First, from, to, clip)
	case info.First > from:
		return []*packet{gonePacket(from, min(clip, info.First-1))}, nil
	case missing && info.Last >= from:
		return f.deleted(ctx, from)
	}
	return nil, errReplica
}

// deleted asks the leader once more for a batch that it did not have: when it was asked
// before, it may not have known the batch yet. Now it has told that it knows more.
func (f *feed) deleted(ctx context.Context, sequence uint64) ([]*packet, error) {
	one, err := leaderGet(ctx, f.g.Conn, f.name, sequence)
	missing := errors.Is(err, errNoMessage)
	if err != nil && !missing {
		return nil, err
	}
	info, err := f.lookup(ctx)
	switch {
	case err != nil:
		return nil, err
	case info.Incarnation != f.incarnation:
		return nil, ErrIncarnation
	case !missing:
		return []*packet{f.parse(one)}, nil
	case info.Last < sequence:
		return nil, errReplica // another leader, which is new
	}
	return []*packet{gonePacket(sequence, sequence)}, nil
}

// packets returns what was read as packets without a hole. What is below first, the
// oldest sequence of the stream, is gone. Another sequence that was left out may have
// been lost on the way: only what comes before it is returned, and errHole if that is
// nothing.
func (f *feed) packets(got []stored, first, from, to, clip uint64) ([]*packet, error) {
	packets := make([]*packet, 0, len(got))
	for _, one := range got {
		if one.sequence < from {
			return nil, fmt.Errorf("relay: direct get: sequence %d after %d", one.sequence, from-1)
		}
		if from > to {
			break
		}
		if there := min(one.sequence, first); there > from {
			packets, from = append(packets, gonePacket(from, min(clip, there-1))), there
		}
		if one.sequence > from || one.sequence > to {
			break
		}
		packets, from = append(packets, f.parse(one)), one.sequence+1
	}
	if len(packets) == 0 {
		return nil, errHole
	}
	return packets, nil
}
