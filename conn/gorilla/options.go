package websocket

import "context"

// Options are what this package offers beside the names that it takes over.
type Options struct {
	// Strict has the engine's own rules and limits hold for what is received: text is UTF-8
	// (RFC 6455 §8.1), lengths have their shortest form (§5.2), and the read limit, which is
	// frame.DefaultMaxMessage at first, bounds the bytes that a message inflates to as well.
	Strict bool
}

type optionsKey struct{}

// WithOptions returns a context that carries o: to DialContext, or in a request to Upgrade.
//
//	c, _, err := dialer.DialContext(websocket.WithOptions(ctx, o), url, nil)
//	c, err := upgrader.Upgrade(w, r.WithContext(websocket.WithOptions(r.Context(), o)), nil)
func WithOptions(ctx context.Context, o Options) context.Context {
	return context.WithValue(ctx, optionsKey{}, o)
}

func optionsOf(ctx context.Context) Options {
	o, _ := ctx.Value(optionsKey{}).(Options)
	return o
}
