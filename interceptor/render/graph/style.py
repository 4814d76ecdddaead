"""Colours and fonts of pictures and pages, for light, dark and paper."""

from __future__ import annotations

PATH_LIGHT, PATH_DARK = "#c2410c", "#ff9d4d"
"""What is on a packet's path; it has numbers and thick lines too."""

_LIGHT = {
    "back": "#ffffff",
    "panel": "#f4f6f9",
    "box": "#ffffff",
    "head": "#e3e8ef",
    "hook": "#27364b",
    "hookink": "#ffffff",
    "edge": "#b3bcc9",
    "rule": "#e3e7ed",
    "ink": "#182230",
    "soft": "#536073",
    "wire": "#5f6e83",
    "end": "#1d4ed8",
    "endfill": "#e6edff",
    "good": "#15703a",
    "bad": "#b42318",
    "path": PATH_LIGHT,
    "pathfill": "#fff0e3",
    "pathink": "#ffffff",
}
_DARK = {
    "back": "#10151d",
    "panel": "#161d28",
    "box": "#1d2532",
    "head": "#2a3546",
    "hook": "#c9d6e8",
    "hookink": "#10151d",
    "edge": "#46536a",
    "rule": "#2b3545",
    "ink": "#e8edf4",
    "soft": "#a3b0c2",
    "wire": "#93a3ba",
    "end": "#8fb4ff",
    "endfill": "#1b2c4d",
    "good": "#6fd08f",
    "bad": "#ff8f84",
    "path": PATH_DARK,
    "pathfill": "#3b2614",
    "pathink": "#10151d",
}

SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif'
MONO = 'ui-monospace,"SF Mono",Consolas,"DejaVu Sans Mono",monospace'


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


COLOURS = (
    f":root{{color-scheme:light dark;{_variables(_LIGHT)}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}"
    f"@media print{{:root{{{_variables(_LIGHT)}}}}}"
)

PICTURE = (
    f"svg text{{font-family:{SANS};fill:var(--ink);white-space:pre}}"
    f"svg .mono{{font-family:{MONO}}}"
    "svg .back{fill:var(--back)}"
    "svg .panel{fill:var(--panel);stroke:var(--edge)}"
    "svg .card{fill:var(--box);stroke:var(--edge)}"
    "svg .card.frame{fill:none}"
    "svg .head{fill:var(--head)}svg .hook .head{fill:var(--hook)}"
    "svg .hook .card{stroke:var(--hook);stroke-width:1.6}"
    "svg .hook .name,svg .hook .place{fill:var(--hookink)}"
    "svg .name,svg .title,svg .do,svg .step,svg .strong{font-weight:700}"
    "svg .soft,svg .why,svg .place,svg .count,svg .nr{fill:var(--soft)}"
    "svg .split{stroke:var(--rule)}"
    "svg .redirect,svg .tproxy,svg .dnat{fill:var(--end)}"
    "svg .accept{fill:var(--good)}svg .drop,svg .missing{fill:var(--bad)}"
    "svg .wire{fill:none;stroke:var(--wire);stroke-width:1.5}"
    "svg .wire.w-goto{stroke-dasharray:6 4}"
    "svg .wire.w-end{stroke:var(--end);stroke-width:2.2}"
    "svg .tip{fill:var(--wire)}svg .tip-end{fill:var(--end)}svg .tip-path{fill:var(--path)}"
    "svg .wire.on{stroke:var(--path);stroke-width:3.4}"
    "svg .end rect{fill:var(--endfill);stroke:var(--end);stroke-width:1.6}"
    "svg .end text{fill:var(--end)}"
    "svg .end.on rect{stroke:var(--path);stroke-width:3.4}"
    "svg .box.on .card{stroke:var(--path);stroke-width:3}"
    "svg .lit{fill:var(--pathfill)}svg .bar,svg .badge{fill:var(--path)}"
    "svg .step{fill:var(--pathink)}"
    "svg .off{opacity:.42}svg .line.off{opacity:.55}"
    "svg .lane{stroke:var(--edge);stroke-width:1.5;stroke-dasharray:2 4}"
    "svg .actor{fill:var(--hook)}svg .actor-name{fill:var(--hookink);font-weight:700}"
    "svg .halo{paint-order:stroke;stroke:var(--panel);stroke-width:5px;stroke-linejoin:round}"
    "svg a:hover text{text-decoration:underline}"
    "svg .line:hover .do{text-decoration:underline}"
)

PAGE = (
    "*{box-sizing:border-box}"
    f"body{{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 {SANS}}}"
    "main{max-width:1320px;margin:0 auto;padding:20px 24px 48px}"
    "h1{font-size:1.6rem;line-height:1.25;margin:.4em 0;overflow-wrap:anywhere}"
    "h2{font-size:1.15rem;margin:1.8em 0 .5em;overflow-wrap:anywhere}"
    "h3{font-size:1rem;margin:1.2em 0 .3em;overflow-wrap:anywhere}"
    "p,ul,ol{margin:.4em 0}.soft{color:var(--soft)}"
    "figure{margin:0;overflow-x:auto}"
    "figure svg{display:block;max-width:100%;height:auto;margin:0 auto}"
    "figure svg.vast{max-width:none;margin:0}"
    ".notes{border-left:4px solid var(--bad);padding:.3em .9em;margin:.8em 0;"
    "background:var(--panel)}"
    "dl.legend{display:grid;grid-template-columns:repeat(auto-fill,minmax(255px,1fr));"
    "gap:.5em 1.4em;margin:0}"
    "dl.legend div{display:flex;gap:.7em;align-items:center}"
    "dl.legend dt{flex:none;width:64px}dl.legend dd{margin:0;font-size:.9rem}"
    "table{border-collapse:collapse;width:100%;font-size:.87rem;margin:.3em 0 1em}"
    "th,td{text-align:left;vertical-align:top;padding:.32em .6em;"
    "border-bottom:1px solid var(--rule);overflow-wrap:anywhere}"
    "th{background:var(--head)}td.n{white-space:nowrap;color:var(--soft)}"
    "tr.on td{background:var(--pathfill)}tr.on td:first-child{border-left:4px solid var(--path)}"
    f"code{{font-family:{MONO};font-size:.92em}}"
    ".narrow{display:none}"
    "@media (max-width:820px){.wide{display:none}.narrow{display:block}"
    "main{padding:10px 10px 32px}h1{font-size:1.3rem}"
    "table,tbody,tr,td,caption{display:block;width:auto}thead{display:none}"
    "tr{border-bottom:1px solid var(--edge);padding:.3em 0}td{border:0;padding:.1em .5em}"
    "td:empty{display:none}}"
    "@media print{@page{margin:12mm}main{padding:0;max-width:none}"
    ".wide{display:block}.narrow{display:none}"
    "h2,h3{break-after:avoid}figure,tr{break-inside:avoid}"
    "figure svg{max-height:250mm}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
)
