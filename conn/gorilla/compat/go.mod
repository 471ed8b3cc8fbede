module github.com/seed-7f57ff33/tickwire/conn/gorilla/compat

go 1.25.0

require (
	github.com/adshao/go-binance/v2 v2.8.1
	github.com/gorilla/websocket v1.5.3
	github.com/hirokisan/bybit/v2 v2.36.0
	github.com/olahol/melody v1.3.0
	github.com/seed-7f57ff33/tickwire v0.0.0
)

require (
	github.com/bitly/go-simplejson v0.5.0 // indirect
	github.com/google/go-querystring v1.1.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jpillora/backoff v1.0.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.4.2 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/shopspring/decimal v1.4.0 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/seed-7f57ff33/tickwire => ../../../
