module github.com/seed-7f57ff33/tickwire

go 1.25.0

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/klauspost/compress v1.20.3
	github.com/klauspost/cpuid/v2 v2.4.2
	github.com/valyala/bytebufferpool v1.0.0
	golang.org/x/net v0.58.0
	golang.org/x/sys v0.47.0
)
