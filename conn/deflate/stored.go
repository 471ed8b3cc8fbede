package deflate

// storedMost is the most bytes of a stored block (RFC 1951 §3.2.4).
const storedMost = 0xFFFF

// appendStored appends p in stored blocks, which begin and end between bytes.
func appendStored(dst, p []byte, last bool) []byte {
	for len(p) > 0 {
		n := min(len(p), storedMost)
		dst = append(dst, 0, byte(n), byte(n>>8), ^byte(n), ^byte(n>>8))
		dst = append(dst, p[:n]...)
		p = p[n:]
	}
	if last {
		dst = append(dst, 0) // of an empty stored block, without the four bytes that RFC 7692 §7.2.1 takes off
	}
	return dst
}
