module github.com/seed-7f57ff33/tickwire/asm/gen

go 1.25.0
