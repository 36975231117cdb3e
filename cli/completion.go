package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// CompletionCmd prints a completion script.
type CompletionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help tells how to install the scripts.
func (c *CompletionCmd) Help() string {
	return `bash: keyturn completion bash > ~/.local/share/bash-completion/completions/keyturn

zsh: keyturn completion zsh > "${fpath[1]}/_keyturn"

fish: keyturn completion fish > ~/.config/fish/completions/keyturn.fish`
}

// Run prints a script that knows every command and flag of this version, and asks nobody.
func (c *CompletionCmd) Run(a *App) error {
	k, err := a.parser(&tree{}, func(int) {})
	if err != nil {
		return err
	}
	w := &completion{}
	w.visit(k.Model.Node, "")
	return a.data(map[string]func() string{"bash": w.bash, "zsh": w.zsh, "fish": w.fish}[c.Shell]())
}

// completion is the command line, flattened for a script.
type completion struct {
	places []place
}

// place is where somebody types: behind a command, or behind the program's name.
type place struct {
	path  string // "credentials list", "" for the program itself
	help  string
	verbs []place
	words []word
}

// word is a flag, or a value of an argument.
type word struct {
	text, help string
	takes      []string // the values of a flag that knows them
	value      bool     // the flag takes a value
	file       bool     // and that is a file
}

func (w *completion) visit(n *kong.Node, path string) {
	p := place{path: path, help: n.Help}
	for _, child := range n.Children {
		if !child.Hidden {
			p.verbs = append(p.verbs, place{path: strings.TrimSpace(path + " " + child.Name), help: child.Help})
		}
	}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			one := word{text: "--" + f.Name, help: f.Help, value: !f.IsBool() && !f.IsCounter(), file: f.PlaceHolder == "F" || f.PlaceHolder == "L" || f.PlaceHolder == "F.pub"}
			if f.Enum != "" {
				one.takes = f.EnumSlice()
			}
			p.words = append(p.words, one)
		}
	}
	for _, arg := range n.Positional {
		if arg.Enum != "" {
			for _, v := range arg.EnumSlice() {
				p.words = append(p.words, word{text: v})
			}
		}
	}
	w.places = append(w.places, p)
	for _, child := range n.Children {
		if !child.Hidden {
			w.visit(child, strings.TrimSpace(path+" "+child.Name))
		}
	}
}

// last is the last word of a path.
func (p place) last() string { return p.path[strings.LastIndexByte(p.path, ' ')+1:] }

func (p place) all() string {
	var all []string
	for _, v := range p.verbs {
		all = append(all, v.last())
	}
	for _, one := range p.words {
		all = append(all, one.text)
	}
	return strings.Join(all, " ")
}

// flags sorts the flags with a value by what the value is.
func (w *completion) flags() (files, others []string) {
	for _, p := range w.places {
		for _, one := range p.words {
			switch {
			case one.file:
				files = append(files, one.text)
			case one.value:
				others = append(others, one.text)
			}
		}
	}
	slices.Sort(files)
	slices.Sort(others)
	return slices.Compact(files), slices.Compact(others)
}

// cases are the arms of a shell's case that walks from command to command, and of the one that offers words.
func (w *completion) cases() (walk, offer string) {
	var paths, arms strings.Builder
	for _, p := range w.places {
		if p.path != "" {
			fmt.Fprintf(&paths, "      %q) at=\"$at $w\" ;;\n", " "+p.path)
		}
		at := ""
		if p.path != "" {
			at = " " + p.path
		}
		fmt.Fprintf(&arms, "    %q) words=%q ;;\n", at, p.all())
	}
	return paths.String(), arms.String()
}

func (w *completion) bash() string {
	walk, offer := w.cases()
	files, others := w.flags()
	return fmt.Sprintf(`# bash completion for keyturn
_keyturn() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= words= w i
  COMPREPLY=()
  case $prev in
    %s) compopt -o default 2>/dev/null; return ;;
    %s) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    w=${COMP_WORDS[i]}
    case "$at $w" in
%s    esac
  done
  case "$at" in
%s  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if ((${#COMPREPLY[@]} == 0)); then compopt -o default 2>/dev/null; fi
}
complete -F _keyturn keyturn
`, strings.Join(files, "|"), strings.Join(others, "|"), walk, offer)
}

func (w *completion) zsh() string {
	walk, offer := w.cases()
	files, others := w.flags()
	return fmt.Sprintf(`#compdef keyturn
# zsh completion for keyturn
_keyturn() {
  local at= words_at= w i
  case ${words[CURRENT-1]} in
    %s) _files; return ;;
    %s) return ;;
  esac
  for ((i = 2; i < CURRENT; i++)); do
    w=${words[i]}
    case "$at $w" in
%s    esac
  done
  case "$at" in
%s  esac
  compadd -- ${=words_at} || _files
}
if [ "$funcstack[1]" = "_keyturn" ]; then _keyturn "$@"; else compdef _keyturn keyturn; fi
`, strings.Join(files, "|"), strings.Join(others, "|"), walk, strings.ReplaceAll(offer, ") words=", ") words_at="))
}

func (w *completion) fish() string {
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	var b strings.Builder
	b.WriteString(`# fish completion for keyturn
function __keyturn_at
    set -l at
    for w in (commandline -opc)[2..-1]
        switch "$at $w"
`)
	for _, p := range w.places {
		if p.path != "" {
			fmt.Fprintf(&b, "            case %s\n                set at \"$at $w\"\n", quote(" "+p.path))
		}
	}
	b.WriteString("        end\n    end\n    test \"$at\" = \"$argv[1]\"\nend\ncomplete -c keyturn -f\n")
	for _, p := range w.places {
		at := ""
		if p.path != "" {
			at = " " + p.path
		}
		on := "complete -c keyturn -n " + quote("__keyturn_at "+quote(at))
		for _, v := range p.verbs {
			fmt.Fprintf(&b, "%s -a %s -d %s\n", on, v.last(), quote(v.help))
		}
		for _, one := range p.words {
			switch name, flag := strings.CutPrefix(one.text, "--"); {
			case !flag:
				fmt.Fprintf(&b, "%s -a %s\n", on, one.text)
			case one.file:
				fmt.Fprintf(&b, "%s -l %s -r -F -d %s\n", on, name, quote(one.help))
			case one.value:
				fmt.Fprintf(&b, "%s -l %s -x -d %s\n", on, name, quote(one.help))
			default:
				fmt.Fprintf(&b, "%s -l %s -d %s\n", on, name, quote(one.help))
			}
		}
	}
	return b.String()
}
