package cli

import (
	"io"
	"slices"
	"strings"
)

// Hidden replaces secrets.
const Hidden = "xxxxx"

// ShortestSecret is the length from which on a secret is hidden in every text. A shorter
// one occurs in too many.
const ShortestSecret = 4

// Hide returns a text without the secrets. The longest is replaced first, because it may
// contain another.
func Hide(text string, secrets []string) string {
	secrets = slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, Hidden)
	}
	return text
}

// Redactor is standard error. It hides the secrets in what a server or a library says.
type Redactor struct {
	W       io.Writer
	Secrets []string
}

// Write writes to W.
func (r *Redactor) Write(p []byte) (int, error) {
	if _, err := io.WriteString(r.W, Hide(string(p), r.Secrets)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *Redactor) under() io.Writer { return r.W }
