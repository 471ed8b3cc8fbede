package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"time"

	"github.com/seed-7f57ff33/tickwire/handshake"
)

// redirect makes the URL that an answer leads to that of the next attempt. followed is
// false if the answer is no redirect, or none are wanted; err says that it is one which
// must not be followed.
func (o *dialAttempt) redirect(refusal error) (followed bool, err error) {
	var step *DialError
	var e *handshake.Error
	if !errors.As(refusal, &step) || step.Step != "handshake" || !errors.As(refusal, &e) || !errors.Is(e, handshake.ErrStatus) {
		return false, nil
	}
	switch e.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return false, nil
	}
	if o.d.MaxRedirects <= 0 {
		return false, nil
	}
	if o.hops++; o.hops > o.d.MaxRedirects {
		return false, redirectError(e, "conn.Dialer.MaxRedirects = "+strconv.Itoa(o.d.MaxRedirects))
	}
	next, err := o.url.Resolve(e.Header.Get("Location"))
	if err == nil {
		err = asciiName(next)
	}
	if err != nil {
		var why *handshake.Error
		if errors.As(err, &why) {
			return false, redirectError(e, why.Name)
		}
		return false, err
	}
	o.keepCookies(e.Header)
	if !o.first.SameOrigin(next) {
		o.foreign = true // and it stays so: the way back may have been chosen by a foreign host
	}
	if !o.foreign {
		next.User = o.first.User
	}
	o.url = next
	return true, nil
}

// redirectError is handshake.ErrRedirect with the answer that asked for it.
func redirectError(answer *handshake.Error, what string) error {
	e := *answer
	e.Rule, e.Section, e.Name = handshake.ErrRedirect.Rule, handshake.ErrRedirect.Section, what
	return &e
}

// bodyWait is how long the body of a refusal may take: it is only there to explain.
const bodyWait = time.Second

// readBody returns the beginning of the body of an answer whose head was read (RFC 9112
// §6.3): early are its first bytes.
func readBody(nc net.Conn, early []byte, e *handshake.Error, most int) []byte {
	if most == 0 || e.Status/100 == 1 || e.Status == http.StatusNoContent || e.Status == http.StatusNotModified {
		return nil
	}
	_ = nc.SetReadDeadline(time.Now().Add(bodyWait))
	var r io.Reader = io.MultiReader(bytes.NewReader(early), nc)
	if e.Header.Get("Transfer-Encoding") != "" {
		r = httputil.NewChunkedReader(r)
	} else if length := e.Header.Get("Content-Length"); length != "" {
		n, err := strconv.ParseUint(length, 10, 31)
		if err != nil {
			return nil
		}
		most = min(most, int(n))
	}
	body, _ := io.ReadAll(io.LimitReader(r, int64(most)))
	return body
}
