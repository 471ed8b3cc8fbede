//go:build !gc || purego || !amd64

package deflate

func decode(s *decoder, opEnd int) verdict { return decodeGeneric(s, opEnd) }
