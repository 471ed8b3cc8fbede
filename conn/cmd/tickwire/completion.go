package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/seed-7f57ff33/tickwire/conn/internal/cli"
)

// shells are the shells with a completion script.
func shells() map[string]func(io.Writer) error {
	return map[string]func(io.Writer) error{"bash": completeBash, "zsh": completeZsh, "fish": completeFish}
}

// runCompletion prints a script that makes a shell complete commands and flags. The
// script asks each command for its flags, so it stays correct.
func runCompletion(_ context.Context, std *streams, args []string) error {
	arguments, err := parse(cli.NewFlags("completion"), std, args, 1)
	if err != nil {
		return err
	}
	script := shells()[arguments[0]]
	if script == nil {
		return cli.BadUsage("want bash, zsh or fish, not %q", arguments[0])
	}
	return script(std.out)
}

// words returns the names of the commands, and those of conform.
func words() (names, conform string) {
	var all, some []string
	for _, c := range commands() {
		all = append(all, c.name)
	}
	for _, c := range conformCommands() {
		some = append(some, strings.TrimPrefix(c.name, "conform "))
	}
	return strings.Join(all, " "), strings.Join(some, " ")
}

func completeBash(w io.Writer) error {
	names, conform := words()
	_, err := fmt.Fprintf(w, `# tickwire completion bash, for ~/.bashrc: source <(tickwire completion bash)
_tickwire() {
  local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} flags=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '%[1]s help' -- "$word"))
    return
  fi
  case $command in
    conform)
      if [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY=($(compgen -W '%[2]s' -- "$word"))
        return
      fi
      command="conform ${COMP_WORDS[2]}" ;;
    completion)
      COMPREPLY=($(compgen -W 'bash zsh fish' -- "$word"))
      return ;;
  esac
  case $word in
    -*)
      flags=$("${COMP_WORDS[0]}" $command -h 2>/dev/null | sed -n 's/^  \(-[^ ]*\).*/\1/p')
      COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
    *)
      COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _tickwire tickwire
`, names, conform)
	return err
}

func completeZsh(w io.Writer) error {
	var list, conform strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&list, "    %s\n", quoted(c.name+":"+c.about))
	}
	for _, c := range conformCommands() {
		fmt.Fprintf(&conform, "    %s\n", quoted(strings.TrimPrefix(c.name, "conform ")+":"+c.about))
	}
	_, err := fmt.Fprintf(w, `#compdef tickwire
# tickwire completion zsh, for ~/.zshrc after compinit: source <(tickwire completion zsh)
_tickwire() {
  local -a list flags
  local -a command
  command=($words[2])
  if (( CURRENT == 2 )); then
    list=(
%s    )
    _describe command list
    return
  fi
  if [[ $words[2] == completion ]]; then
    _values shell bash zsh fish
    return
  fi
  if [[ $words[2] == conform ]]; then
    if (( CURRENT == 3 )); then
      list=(
%s      )
      _describe command list
      return
    fi
    command=(conform $words[3])
  fi
  if [[ $words[CURRENT] == -* ]]; then
    flags=(${(f)"$($words[1] $command -h 2>/dev/null | sed -n 's/^  \(-[^ ]*\).*/\1/p')"})
    compadd -a flags
    return
  fi
  _files
}
compdef _tickwire tickwire
`, list.String(), conform.String())
	return err
}

// quoted returns s as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func completeFish(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# tickwire completion fish > ~/.config/fish/completions/tickwire.fish
function __tickwire_flags
  set -l words (commandline -opc)
  set -l command $words[2]
  if test "$command" = conform
    set command conform $words[3]
  end
  $words[1] $command -h 2>/dev/null | string replace -rf '^  (-\S+).*' '$1'
end
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "complete -c tickwire -n __fish_use_subcommand -f -a %s -d %s\n", c.name, fishQuoted(c.about))
	}
	for _, c := range conformCommands() {
		fmt.Fprintf(&b, "complete -c tickwire -n '__fish_seen_subcommand_from conform' -a %s -d %s\n", strings.TrimPrefix(c.name, "conform "), fishQuoted(c.about))
	}
	b.WriteString(`complete -c tickwire -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'
complete -c tickwire -n 'not __fish_use_subcommand' -a '(__tickwire_flags)'
`)
	_, err := io.WriteString(w, b.String())
	return err
}

func fishQuoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
