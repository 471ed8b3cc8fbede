package conformance

import (
	"fmt"
	"html/template"
	"io"
)

// A row of the page is a case. A cell is the result of one agent.
type row struct {
	ID, Title, Family string
	First             bool // of its family
	Cells             []*cell
}

type cell struct {
	*Result
	Anchor string // two reports can have the same name: it includes the report's number
	Class  string
}

// WritePage writes a page with a row for each case and a column for each agent. Below the
// table is what each case sent and received.
func WritePage(w io.Writer, reports []*Report) error {
	var rows []*row
	byID := map[string]*row{}
	for i, r := range reports {
		for j := range r.Results {
			x := &r.Results[j]
			at := byID[x.ID]
			if at == nil {
				at = &row{ID: x.ID, Title: x.Title, Family: (&Case{ID: x.ID}).Family(), Cells: make([]*cell, len(reports))}
				byID[x.ID] = at
				rows = append(rows, at)
			}
			at.Cells[i] = &cell{x, fmt.Sprintf("%d-%s", i+1, x.ID), [...]string{"ok", "none", "info", "lax", "bad"}[x.Verdict]}
		}
	}
	for i, r := range rows {
		r.First = i == 0 || rows[i-1].Family != r.Family
	}
	return page.Execute(w, struct {
		Reports []*Report
		Rows    []*row
	}{reports, rows})
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>WebSocket conformance</title>
<style>
:root { color-scheme: light dark; --ok: #1a7f37; --none: #6e7781; --info: #0969da; --lax: #9a6700; --bad: #cf222e; }
body { font: 15px/1.45 system-ui, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .15rem .5rem; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; }
tr.family th { padding-top: 1.2rem; font-size: 1.1em; }
.ok, .none, .info, .lax, .bad { color: #fff; border-radius: 3px; padding: 0 .4rem; text-decoration: none; white-space: nowrap; }
.ok { background: var(--ok); } .none { background: var(--none); } .info { background: var(--info); } .lax { background: var(--lax); } .bad { background: var(--bad); }
details { border-top: 1px solid #8886; padding: .3rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; margin: .3rem 0; }
</style></head><body>
<h1>WebSocket conformance</h1>
<ul>{{range .Reports}}<li><b>{{.Agent}}</b>, a {{.Role}}: {{.Summary}} ({{.Started.Format "2006-01-02 15:04 MST"}})</li>{{end}}</ul>
<table><thead><tr><th>Case</th><th>What is done</th>{{range .Reports}}<th>{{.Agent}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}{{if .First}}<tr class="family"><th colspan="9">{{.Family}}</th></tr>
{{end}}<tr><td>{{.ID}}</td><td>{{.Title}}</td>{{range .Cells}}<td>{{if .}}<a class="{{.Class}}" href="#{{.Anchor}}">{{.Verdict}}</a>{{end}}</td>{{end}}</tr>
{{end}}</tbody></table>
<h2>Each case</h2>
{{range $i, $r := .Reports}}<h3>{{$r.Agent}}</h3>
{{range $.Rows}}{{with index .Cells $i}}<details id="{{.Anchor}}"><summary>{{.ID}} <span class="{{.Class}}">{{.Verdict}}</span> {{.Title}}</summary>
<p>{{range .Covers}}{{.}} {{end}}{{with .Note}}— {{.}}{{end}}</p>
{{with .Decided}}<p>Octets that decided: <code>{{.}}</code></p>{{end}}<p>{{.End}}, {{.Duration}}</p>
<pre>{{range .Wire}}{{if .Sent}}&gt;{{else}}&lt;{{end}} {{printf "%7d" .Bytes}} {{.Hex}}  {{.About}}
{{end}}{{with .Left}}and {{.}} more
{{end}}</pre></details>
{{end}}{{end}}{{end}}<script>
function show() { var d = document.getElementById(decodeURIComponent(location.hash.slice(1))) || document.getElementById(location.hash.slice(1)); if (d) { d.open = true; d.scrollIntoView(); } }
addEventListener("hashchange", show); show();
</script></body></html>
`))
