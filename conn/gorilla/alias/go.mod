module github.com/gorilla/websocket

go 1.25.0

require github.com/seed-7f57ff33/tickwire v0.0.0

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/klauspost/cpuid/v2 v2.4.2 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/seed-7f57ff33/tickwire => ../../..
