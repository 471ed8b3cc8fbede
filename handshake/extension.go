package handshake

// An Extension is one element of a Sec-WebSocket-Extensions list: a name and its parameters in the order of the wire
// (RFC 6455 §9.1). The same name may stand in a list more than once: a client offers alternatives that way.
type Extension struct {
	Name   string
	Params []Param
}

// A Param is one parameter of an Extension. Value is "" if the parameter has none; a value that stood in quotes is
// given without them, and is a token like every other (RFC 6455 §9.1).
type Param struct {
	Name  string
	Value string
}
