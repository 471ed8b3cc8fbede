package main

func maskKernels(s *Source) {
	s.Begin("Masking kernels.")
}
