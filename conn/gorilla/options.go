package websocket

import "context"

// Options are what this package offers in addition to gorilla's API.
type Options struct {
	// Strict applies the engine's own rules and limits to what is received. Text must be
	// UTF-8 (RFC 6455 §8.1), and lengths must have their shortest form (§5.2). The read
	// limit, by default frame.DefaultMaxMessage, also bounds the inflated size of a
	// message.
	Strict bool
}

type optionsKey struct{}

// WithOptions returns a context that carries o to DialContext, or in a request to
// Upgrade.
//
//	c, _, err := dialer.DialContext(websocket.WithOptions(ctx, o), url, nil)
//	r = r.WithContext(websocket.WithOptions(r.Context(), o))
//	c, err := upgrader.Upgrade(w, r, nil)
func WithOptions(ctx context.Context, o Options) context.Context {
	return context.WithValue(ctx, optionsKey{}, o)
}

func optionsOf(ctx context.Context) Options {
	o, _ := ctx.Value(optionsKey{}).(Options)
	return o
}
