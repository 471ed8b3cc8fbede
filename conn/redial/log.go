package redial

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn"
)

// LogChanges returns a Client.OnChange that logs each change. The level is Warn for a
// lost connection or Reconnect, Error for a Client that gave up, Debug for the start of
// an attempt, and Info for the rest, including retries. Of a URL only scheme and host are
// logged, because the rest may contain tokens.
func LogChanges(logger *slog.Logger) func(Change) {
	return func(ch Change) {
		level, text := ch.line()
		logger.LogAttrs(context.Background(), level, text, ch.attrs()...)
	}
}

// line returns how a change is told.
func (ch *Change) line() (slog.Level, string) {
	switch ch.State {
	case Dialing:
		return slog.LevelDebug, "feed: dialing"
	case Failed:
		return slog.LevelInfo, "feed: attempt failed"
	case Up:
		return slog.LevelInfo, "feed: up"
	case Rotating:
		return slog.LevelInfo, "feed: rotating"
	case Down:
		if askedFor(ch.Err) {
			return slog.LevelWarn, "feed: given up"
		}
		if ch.By == ByUs {
			return slog.LevelInfo, "feed: closed"
		}
		return slog.LevelWarn, "feed: lost"
	case Waiting:
		return slog.LevelInfo, "feed: waiting to dial again"
	case Stopped:
		if ch.Err == nil || errors.Is(ch.Err, context.Canceled) || errors.Is(ch.Err, context.DeadlineExceeded) {
			return slog.LevelInfo, "feed: stopped"
		}
		return slog.LevelError, "feed: gave up"
	}
	return slog.LevelInfo, "feed: " + ch.State.String()
}

func (ch *Change) attrs() []slog.Attr {
	list := []slog.Attr{slog.Any("state", ch.State), slog.Uint64("epoch", ch.Epoch)}
	if ch.Attempt > 0 {
		list = append(list, slog.Int("attempt", ch.Attempt))
	}
	if ch.URL != "" {
		list = append(list, slog.String("host", hostOf(ch.URL)))
	}
	if ch.State == Waiting {
		list = append(list, slog.Duration("delay", ch.Delay))
	}
	if ch.State == Down {
		list = append(list, slog.Any("by", ch.By), slog.Int("code", int(ch.Code)), slog.Int("sent_code", int(ch.SentCode)),
			slog.Duration("age", ch.Age), slog.Uint64("messages", ch.Messages))
	}
	if ch.Err != nil {
		list = append(list, slog.String("error", withoutURL(ch.Err)))
	}
	return list
}

// hostOf cuts a URL down to scheme and host.
func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}

// withoutURL is the text of an error with the URL of a dial cut down.
func withoutURL(err error) string {
	text := err.Error()
	var dial *conn.DialError
	if errors.As(err, &dial) && dial.URL != "" {
		text = strings.ReplaceAll(text, dial.URL, hostOf(dial.URL))
	}
	return text
}
