package conn

import (
	"math"
	"net"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7f57ff33/tickwire/conn/deflate"
	"github.com/seed-7f57ff33/tickwire/conn/internal/netsim"
	"github.com/seed-7f57ff33/tickwire/frame"
)

// deaf is an Observer.
type deaf struct{ _ int }

func (*deaf) Control(*Conn, frame.Opcode, []byte, bool) {}
func (*deaf) RoundTrip(*Conn, time.Duration)            {}
func (*deaf) Slow(*Conn, ReadInfo)                      {}
func (*deaf) Ended(*Conn, error)                        {}

func configOf(t *testing.T, role frame.Role, cfg *Config) *Config {
	a, b := net.Pipe()
	c := New(a, role, cfg)
	t.Cleanup(func() {
		c.Close()
		b.Close()
	})
	return c.cfg
}

// Connections with the same Config share one, whatever the caller's is changed to later.
func TestConfigIsShared(t *testing.T) {
	observer := new(deaf)
	full := Config{KeepAlive: time.Hour, Observer: observer, Outbound: func(*Conn, Opcode, int) error { return nil }}
	for _, role := range []frame.Role{frame.Client, frame.Server} {
		if configOf(t, role, nil) != configOf(t, role, &Config{}) {
			t.Errorf("%v: not shared without a Config", role)
		}
		given := full
		shared := configOf(t, role, &given)
		if shared != configOf(t, role, &given) {
			t.Errorf("%v: not shared", role)
		}
		given.KeepAlive = time.Minute
		if shared.KeepAlive != time.Hour || configOf(t, role, &given).KeepAlive != time.Minute {
			t.Errorf("%v: a change of the caller's Config reached a connection, or was missed", role)
		}
		if configOf(t, role, &full) == nil || shared.Observer != observer {
			t.Errorf("%v: the Observer was lost", role)
		}
	}
	for _, p := range []deflate.Params{{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}, {ServerMaxWindowBits: 9, ClientMaxWindowBits: 15}} {
		cfg := Config{Deflate: new(deflate.Config)}
		one, two := configOf(t, frame.Server, cfg.with(p)), configOf(t, frame.Server, cfg.with(p))
		if one != two || !one.Frame.Compression {
			t.Errorf("not shared with what was agreed, or without its consequence")
		}
	}
}

// Two Configs that differ in any one field are not taken for the same.
func TestConfigsThatDiffer(t *testing.T) {
	zero := configOf(t, frame.Server, nil)
	var differ func(cfg *Config, v reflect.Value, name string)
	differ = func(cfg *Config, v reflect.Value, name string) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					differ(cfg, v.Field(i), name+"."+f.Name)
				}
			}
			return
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Uint8:
			v.SetUint(v.Uint() + 1)
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Func:
			v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { panic("called") }))
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.Interface:
			v.Set(reflect.ValueOf(new(deaf)))
		default:
			t.Fatalf("%s is a %v", name, v.Kind())
		}
		if cfg.same(zero) || cfg.shared(frame.Server) == zero {
			t.Errorf("%s makes no difference", name)
		}
		v.Set(old)
		if first, second := cfg.shared(frame.Server), cfg.shared(frame.Server); first != second {
			t.Errorf("without %s it is not shared", name)
		}
	}
	cfg := new(Config)
	*cfg = *zero
	if !cfg.same(zero) || cfg.shared(frame.Server) != zero {
		t.Error("a copy is not the same")
	}
	differ(cfg, reflect.ValueOf(cfg).Elem(), "Config")
	runtime.KeepAlive(zero)
}

// What the connections of the past had is not kept.
func TestConfigIsNotKept(t *testing.T) {
	collected := make(chan struct{})
	func() {
		cfg := &Config{Observer: new(deaf)}
		shared := cfg.shared(frame.Client)
		runtime.AddCleanup(shared, func(c chan struct{}) { close(c) }, collected)
	}()
	for range 1000 {
		runtime.GC()
		select {
		case <-collected:
			return
		default:
		}
	}
	t.Error("kept")
}

// A limit as long as can be is one that never comes, in whatever is reckoned from it.
func TestTheLongestTimeouts(t *testing.T) {
	const never = math.MaxInt64
	for name, cfg := range map[string]Config{
		"ReadTimeout":  {ReadTimeout: never},
		"WriteTimeout": {WriteTimeout: never},
		"KeepAlive":    {KeepAlive: never, PongTimeout: never},
		"DataTimeout":  {DataTimeout: never},
		"CloseTimeout": {CloseTimeout: never},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := netsim.Pipe(0)
				client, server := New(a, frame.Client, &cfg), New(b, frame.Server, &cfg)
				go func() {
					for m, err := range server.Messages() {
						if err != nil {
							return
						}
						time.Sleep(10 * time.Second) // what is waited for comes late
						if err := server.WriteMessage(m.Opcode, m.Data); err != nil {
							t.Error(err)
						}
					}
				}()
				for range 2 {
					roundTrip(t, client)
				}
				if err := client.Shutdown(t.Context(), frame.CodeNormal, ""); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
