package websocket

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/proxy"
)

// through returns a function that dials through a proxy. dial connects to the proxy.
func through(p *url.URL, dial dialFunc) (dialFunc, error) {
	if p.Scheme == "http" {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			proxyAddress, _ := hostAndPort(p)
			nc, err := dial(ctx, network, proxyAddress)
			if err != nil {
				return nil, err
			}
			if err := tunnel(ctx, nc, p, address); err != nil {
				nc.Close()
				return nil, err
			}
			return nc, nil
		}, nil
	}
	below := &belowProxy{dial: dial}
	if _, err := proxy.FromURL(p, below); err != nil {
		return nil, err
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		below := &belowProxy{dial: dial}
		s, err := proxy.FromURL(p, below)
		if err != nil {
			return nil, err
		}
		cd, ok := s.(proxy.ContextDialer)
		if !ok {
			return nil, errors.ErrUnsupported
		}
		if _, err := cd.DialContext(ctx, network, address); err != nil {
			if below.nc != nil {
				below.nc.Close()
			}
			return nil, err
		}
		return below.nc, nil // not the result of DialContext, which hides the socket
	}, nil
}

// belowProxy dials the proxy, and keeps the connection.
type belowProxy struct {
	dial dialFunc
	nc   net.Conn
}

func (b *belowProxy) Dial(network, address string) (net.Conn, error) {
	return b.DialContext(context.Background(), network, address)
}

func (b *belowProxy) DialContext(ctx context.Context, network, address string) (nc net.Conn, err error) {
	nc, err = b.dial(ctx, network, address)
	b.nc = nc
	return nc, err
}

// tunnel asks an http proxy for a tunnel to address (RFC 9110 §9.3.6). The server does
// not speak first, so bytes after the proxy's answer are dropped.
func tunnel(ctx context.Context, nc net.Conn, p *url.URL, address string) error {
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if password, ok := p.User.Password(); ok {
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)))
	}
	if err := req.Write(nc); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(&bounded{nc, maxHandshakeBytes}), req)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return errors.New(statusText(resp))
	}
	return nil
}

// statusText returns the text after the status code of an answer.
func statusText(resp *http.Response) string {
	if len(resp.Status) > 4 {
		return resp.Status[4:]
	}
	return http.StatusText(resp.StatusCode)
}
