// Recording records a feed in a file, byte for byte, and plays it later.
//
// A conn.Recorder writes the bytes that connections receive, with the times of their
// arrival. It never delays a connection: if the disk is too slow it drops bytes, and says
// so. The file distinguishes the client's connections. Playing decodes the bytes with the
// same decoder.
//
//	recording -url wss://feed.example/stream -o feed.rec -n 1000
//	recording -play feed.rec
//
// The first command prints how much it has recorded. The second prints the messages, each
// with its connection and the seconds since the start of the recording.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn"
	"github.com/seed-7f57ff33/tickwire/conn/redial"
	"github.com/seed-7f57ff33/tickwire/frame"
)

func main() {
	url := flag.String("url", "", "`URL` of the server to record")
	ca := flag.String("ca", "", "`file` of its root certificate in PEM, if the system does not know it")
	request := flag.String("text", `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}`, "what to send first")
	output := flag.String("o", "feed.rec", "`file` to write")
	count := flag.Uint64("n", 0, "how many messages to record; 0 means until Ctrl-C")
	input := flag.String("play", "", "`file` to read again")
	flag.Parse()
	var err error
	if *input != "" {
		err = play(os.Stdout, *input)
	} else {
		err = record(*url, *ca, *request, *output, *count)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func record(url, ca, request, output string, count uint64) error {
	dialer, err := newDialer(ca)
	if err != nil {
		return err
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	recorder := conn.NewRecorder(file, 0)
	dialer.Config.Recorder = recorder
	client := &redial.Client{
		URL:    url,
		Dialer: dialer,
		OnConnect: func(_ context.Context, s *redial.Session) error {
			return s.Conn.WriteMessage(conn.Text, []byte(request))
		},
		OnChange: redial.LogChanges(slog.Default()),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var messages uint64
	err = client.Run(ctx, func(context.Context, redial.Message) error {
		if messages++; messages == count {
			return errEnough
		}
		return recorder.Err() // a full disk ends the program
	})
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		err = nil
	}
	err = errors.Join(err, recorder.Close(), file.Close())
	fmt.Printf("%d messages recorded, %d bytes dropped\n", messages, recorder.Dropped())
	return err
}

var errEnough = errors.New("that was the last")

// play prints the messages of a recording.
func play(to io.Writer, input string) error {
	file, err := os.Open(input)
	if err != nil {
		return err
	}
	defer file.Close()
	recording, err := conn.ReadRecording(bufio.NewReader(file))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	readers := map[uint32]*frame.Reader{}
	var began time.Time
	for {
		r, err := recording.Next()
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		if began.IsZero() {
			began = r.Time
		}
		switch r.Kind {
		case conn.RecordBegin:
			readers[r.Connection] = frame.NewReader(nil, frame.Client, frame.Options{})
		case conn.RecordData:
			err = decode(w, readers[r.Connection], r, r.Time.Sub(began))
		case conn.RecordGap:
			_, err = fmt.Fprintf(w, "%d: bytes are missing from here on\n", r.Connection)
		case conn.RecordEnd:
			delete(readers, r.Connection)
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
	}
}

// decode prints the messages that a record completes.
func decode(w io.Writer, reader *frame.Reader, r conn.Record, at time.Duration) error {
	for rest := r.Data; len(rest) > 0; {
		n := copy(reader.Space(), rest)
		reader.Filled(n)
		rest = rest[n:]
		for {
			m, ok, err := reader.Buffered()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if m.Opcode.IsControl() {
				continue
			}
			if _, err := fmt.Fprintf(w, "%d %.6f %s\n", r.Connection, at.Seconds(), m.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// newDialer returns a Dialer that trusts the root certificates in a file, or the system's
// if there is no file.
func newDialer(ca string) (*conn.Dialer, error) {
	if ca == "" {
		return &conn.Dialer{}, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &conn.Dialer{TLSConfig: &tls.Config{RootCAs: roots}}, nil
}
