package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The errors of streams. Those of the engine wrap its own error.
var (
	// ErrStreamNotFound says that there is no stream of that name, or no longer.
	ErrStreamNotFound = errors.New("relay: no such stream")
	// ErrStreamFull says that the stream refuses messages beyond its MaxBytes or MaxMsgs.
	ErrStreamFull = errors.New("relay: the stream is full")
	// ErrNoSpace says that the engine has no disk space or memory left.
	ErrNoSpace = errors.New("relay: the engine has no room")
	// ErrNoLeader says that the engine does not answer for the stream: it is away, or
	// elects a leader.
	ErrNoLeader = errors.New("relay: the stream has no leader")
	// ErrPermission says that the user of the connection may not do this.
	ErrPermission = errors.New("relay: not permitted")
	// ErrIncarnation says that the stream was deleted and made anew.
	ErrIncarnation = errors.New("relay: the stream was made anew")
	// ErrStreamConfig says that a stream exists, and is not configured as a relay needs.
	ErrStreamConfig = errors.New("relay: the stream is configured in another way")
	// ErrReconnectBuffer says that a connection keeps what is published while it is
	// down, and sends it late. Connect makes one that does not.
	ErrReconnectBuffer = errors.New("relay: the NATS connection has a reconnect buffer: use Connect, or ReconnectBufSize(-1)")
)

// Connect connects to NATS servers, comma-separated, with the options that a relay needs:
// nothing is published late after a reconnect, a node that stopped is noticed within
// seconds, and the connection is never given up. Options of the caller come after these.
func Connect(servers string, options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.Name("tickwire relay"),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.Timeout(2 * time.Second),
	}, options...)
	return nats.Connect(servers, options...)
}

// StreamConfig describes a stream for CreateStream.
type StreamConfig struct {
	// Name is the stream's. Its batches are published on the subject relay.NAME, and
	// republished on relay-live.NAME.
	Name string
	// Replicas is 1, 3 or 5; 0 means 1.
	Replicas int
	// MaxAge limits how long the stream keeps a batch. 0 means DefaultMaxAge, negative no
	// limit.
	MaxAge time.Duration
	// MaxBytes limits what the stream keeps: the oldest batches are dropped. 0 means
	// DefaultMaxBytes, negative no limit.
	MaxBytes int64
	// Memory keeps the stream in memory instead of in files.
	Memory bool
}

// The defaults of StreamConfig.
const (
	DefaultMaxAge   = 24 * time.Hour
	DefaultMaxBytes = 8 << 30
)

// StreamInfo describes a stream.
type StreamInfo struct {
	// Name is that of StreamConfig.
	Name string
	// Subject is where batches are published.
	Subject string
	// Live is where the engine republishes batches once they are stored.
	Live string
	// Incarnation tells this stream apart from an earlier one of the same name.
	Incarnation uint64
	// First is the sequence of the oldest batch, or Last+1 if the stream is empty.
	First uint64
	// Last is the sequence of the newest batch.
	Last uint64
	// Replicas is how many servers keep it.
	Replicas int
	// Leader is the server that takes its batches; "" without a cluster.
	Leader string
}

// CreateStream creates a stream, or finds the one that is there. One that is there keeps
// its limits and replicas; if it lacks what a relay needs the error matches
// ErrStreamConfig.
func CreateStream(ctx context.Context, nc *nats.Conn, c StreamConfig) (StreamInfo, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return StreamInfo{}, err
	}
	config := jetstream.StreamConfig{
		Name:        c.Name,
		Subjects:    []string{"relay." + c.Name},
		Replicas:    max(1, c.Replicas),
		MaxAge:      limit(c.MaxAge, DefaultMaxAge),
		MaxBytes:    limit(c.MaxBytes, DefaultMaxBytes),
		Discard:     jetstream.DiscardOld,
		AllowDirect: true,
		Duplicates:  time.Second, // no Nats-Msg-Id comes twice
		RePublish:   &jetstream.RePublish{Source: "relay." + c.Name, Destination: "relay-live." + c.Name},
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = -1
	}
	if config.MaxAge > 0 {
		config.Duplicates = min(config.Duplicates, config.MaxAge)
	}
	if c.Memory {
		config.Storage = jetstream.MemoryStorage
	}
	if _, err := js.CreateStream(ctx, config); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return StreamInfo{}, engineError(err)
	}
	return LookupStream(ctx, nc, c.Name)
}

// limit returns v, its default for 0, and 0, which is no limit, for less.
func limit[T ~int64](v, def T) T {
	if v == 0 {
		return def
	}
	return max(v, 0)
}

// LookupStream asks the leader for a stream.
func LookupStream(ctx context.Context, nc *nats.Conn, name string) (StreamInfo, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return StreamInfo{}, err
	}
	s, err := js.Stream(ctx, name)
	if err != nil {
		return StreamInfo{}, engineError(err)
	}
	i := s.CachedInfo()
	info := StreamInfo{
		Name:        name,
		Incarnation: uint64(i.Created.UnixNano()),
		First:       i.State.FirstSeq,
		Last:        i.State.LastSeq,
		Replicas:    i.Config.Replicas,
	}
	if i.State.Msgs == 0 {
		info.First = info.Last + 1
	}
	if i.Cluster != nil {
		info.Leader = i.Cluster.Leader
	}
	if len(i.Config.Subjects) != 1 || i.Config.RePublish == nil || !i.Config.AllowDirect {
		return info, fmt.Errorf("%w: %s needs one subject, RePublish and AllowDirect", ErrStreamConfig, name)
	}
	info.Subject, info.Live = i.Config.Subjects[0], i.Config.RePublish.Destination
	if info.Live == info.Subject || i.Config.RePublish.HeadersOnly {
		return info, fmt.Errorf("%w: %s republishes headers only, or on its own subject", ErrStreamConfig, name)
	}
	return info, nil
}

// Codes of JetStream's errors, from its server/errors.json.
const (
	codeInsufficientResources = 10023
	codeStorageExceeded       = 10047
	codeMemoryExceeded        = 10028
	codeNoMessage             = 10037
	codeStreamNotFound        = 10059
	codeStoreFailed           = 10077
	codeWrongLastSequence     = 10071
	codeWrongStream           = 10060
)

// engineError wraps an error of the engine in ours, if there is one for it.
func engineError(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return codeError(int(api.ErrorCode), err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	case errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	}
	return err
}

// codeError wraps an error with a code of JetStream's.
func codeError(code int, err error) error {
	kind := error(nil)
	switch code {
	case codeStreamNotFound, codeWrongStream:
		kind = ErrStreamNotFound
	case codeInsufficientResources, codeStorageExceeded, codeMemoryExceeded:
		kind = ErrNoSpace
	case codeStoreFailed:
		kind = ErrStreamFull
	default:
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// timeHeader is the header with the engine's time stamp of a message.
const timeHeader = "Nats-Time-Stamp"

// stored is a message of a stream.
type stored struct {
	sequence uint64
	time     int64 // the engine's stamp, in nanoseconds since 1970
	data     []byte
}

// errNoMessage says that a stream has no message of a sequence.
var errNoMessage = errors.New("relay: no message of that sequence")

// leaderGet asks the leader for the message of a sequence. Any replica could answer a
// direct get, and may be late.
func leaderGet(ctx context.Context, nc *nats.Conn, stream string, sequence uint64) (stored, error) {
	request := fmt.Appendf(nil, `{"seq":%d}`, sequence)
	answer, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return stored{}, engineError(err)
	}
	var response struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64    `json:"seq"`
			Time     time.Time `json:"time"`
			Data     []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &response); err != nil {
		return stored{}, fmt.Errorf("relay: answer to STREAM.MSG.GET: %w", err)
	}
	switch e := response.Error; {
	case e != nil && e.ErrorCode == codeNoMessage:
		return stored{}, errNoMessage
	case e != nil:
		return stored{}, codeError(int(e.ErrorCode), e)
	case response.Message == nil:
		return stored{}, errors.New("relay: answer to STREAM.MSG.GET without a message")
	}
	m := response.Message
	return stored{m.Sequence, m.Time.UnixNano(), m.Data}, nil
}

// directGet reads up to n messages from a sequence on, by direct get: any replica
// answers. It returns those that the replica has: none if it has nothing from there on,
// or is late. Sequences that are gone are left out.
func directGet(ctx context.Context, nc *nats.Conn, stream string, from uint64, n, maxBytes int) ([]stored, error) {
	return directRequest(ctx, nc, stream, fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, from, n, maxBytes))
}

// directGetSince is directGet for the first message that was stored at a time or later.
func directGetSince(ctx context.Context, nc *nats.Conn, stream string, since time.Time) ([]stored, error) {
	text := since.UTC().Format(time.RFC3339Nano)
	return directRequest(ctx, nc, stream, fmt.Appendf(nil, `{"start_time":%q,"batch":1}`, text))
}

func directRequest(ctx context.Context, nc *nats.Conn, stream string, request []byte) ([]stored, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, request); err != nil {
		return nil, engineError(err)
	}
	var out []stored
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, engineError(err)
		}
		switch m.Header.Get("Status") {
		case "":
		case "204", "404": // end of the batch; nothing there
			return out, nil
		case "503":
			return nil, engineError(nats.ErrNoResponders)
		default:
			return nil, fmt.Errorf("relay: direct get: %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
		}
		one, err := storedOf(m)
		if err != nil {
			return nil, fmt.Errorf("relay: direct get: %w", err)
		}
		out = append(out, one)
	}
}

// storedOf returns a message that the engine read or republished.
func storedOf(m *nats.Msg) (stored, error) {
	sequence, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return stored{}, fmt.Errorf("sequence: %w", err)
	}
	stamp, err := time.Parse(time.RFC3339Nano, m.Header.Get(timeHeader))
	if err != nil {
		return stored{}, fmt.Errorf("time stamp: %w", err)
	}
	return stored{sequence, stamp.UnixNano(), m.Data}, nil
}
