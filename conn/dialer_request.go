package conn

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// request is what is asked for at the URL of this attempt.
func (o *dialAttempt) request() (*handshake.Request, error) {
	d := o.d
	req := &handshake.Request{Host: o.url.Host(), Target: o.url.Target, Key: handshake.NewKey()}
	var err error
	if req.Extensions, err = d.Config.offer(); err != nil {
		return nil, err
	}
	h := http.Header{}
	var cookies []string
	if !o.foreign {
		req.Origin, req.Subprotocols = d.Origin, d.Subprotocols
		if d.Host != "" {
			req.Host = d.Host
		}
		if h, cookies, err = o.ownHeader(); err != nil {
			return nil, err
		}
		if a := o.url.Authorization(); a != "" && !hasHeader(h, "Authorization") {
			h["Authorization"] = []string{a}
		}
	}
	if d.Jar != nil {
		for _, c := range d.Jar.Cookies(httpURL(o.url)) {
			if pair := (&http.Cookie{Name: c.Name, Value: c.Value, Quoted: c.Quoted}).String(); pair != "" {
				cookies = append(cookies, pair)
			}
		}
	}
	if len(cookies) > 0 { // RFC 6265 §5.4: in one line
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	req.Header = h
	return req, nil
}

// ownHeader is what the caller adds to the request, its cookies apart. Names are the same
// in any case.
func (o *dialAttempt) ownHeader() (h http.Header, cookies []string, err error) {
	h = http.Header{}
	for name, values := range o.d.Header {
		h[name] = values
	}
	cookies = cutCookies(h)
	if o.d.HeaderFunc == nil {
		return h, cookies, nil
	}
	more, err := o.d.HeaderFunc(o.ctx, o.url)
	if err != nil {
		return nil, nil, err
	}
	putHeader(h, more)
	fresh := cutCookies(h)
	cookies = slices.DeleteFunc(cookies, func(pair string) bool {
		return slices.ContainsFunc(fresh, func(f string) bool { return cookieName(f) == cookieName(pair) })
	})
	return h, append(cookies, fresh...), nil
}

// putHeader puts more into h, in the place of lines of the same names in any case.
func putHeader(h, more http.Header) {
	for name := range more {
		for own := range h {
			if strings.EqualFold(own, name) {
				delete(h, own)
			}
		}
	}
	maps.Copy(h, more)
}

// cutCookies takes the cookies out of a header, however many lines they are in.
func cutCookies(h http.Header) (pairs []string) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if !strings.EqualFold(name, "Cookie") {
			continue
		}
		for _, value := range h[name] {
			for pair := range strings.SplitSeq(value, ";") {
				if pair = strings.Trim(pair, " \t"); pair != "" {
					pairs = append(pairs, pair)
				}
			}
		}
		delete(h, name)
	}
	return pairs
}

func cookieName(pair string) string {
	name, _, _ := strings.Cut(pair, "=")
	return name
}

// keepCookies gives the jar what an answer at the URL of this attempt sets.
func (o *dialAttempt) keepCookies(h http.Header) {
	if o.d.Jar == nil {
		return
	}
	if cookies := (&http.Response{Header: h}).Cookies(); len(cookies) > 0 {
		o.d.Jar.SetCookies(httpURL(o.url), cookies)
	}
}

func hasHeader(h http.Header, name string) bool {
	for n := range h {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
