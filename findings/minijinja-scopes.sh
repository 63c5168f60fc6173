#!/usr/bin/env bash
# minijinja 3.1.0 renders some valid Jinja templates as another text than jinja2 3.1.6 does, without an error: a
# macro's default that names an earlier parameter is empty, variables of one `with` see each other, a dict's key
# hides the method of that name, and `format` passes over a value that the text has no place for.
# Chat templates of models use all four.
#
# Installs both in a temporary folder. Exits with 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/templates" <<'TEMPLATES'
{% macro f(a, b=a) %}[{{ b }}]{% endmacro %}{{ f(3) }}
{% set a=5 %}{% with a=1, b=a %}{{ b }}{% endwith %}
{% set d = {'items': 1} %}{% if d.items is number %}key{% else %}method{% endif %}
{{ 'one'|format(1) }}
TEMPLATES
cat >"$folder/expected" <<'EXPECTED'
[3]	[]
5	1
method	key
TypeError	one
EXPECTED

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check jinja2==3.1.6
"$folder/venv/bin/python" - "$folder/templates" >"$folder/jinja2" <<'PYTHON'
import sys
import jinja2

for template in open(sys.argv[1]):
    try:
        print(jinja2.Environment().from_string(template.rstrip("\n")).render())
    except Exception as error:
        print(type(error).__name__)
PYTHON

mkdir -p "$folder/rust/src"
cat >"$folder/rust/Cargo.toml" <<'TOML'
[package]
name = "scopes"
version = "0.1.0"
edition = "2024"
[dependencies]
minijinja = "=3.1.0"
TOML
cat >"$folder/rust/src/main.rs" <<'RUST'
fn main() {
    for template in std::io::stdin().lines() {
        let rendered = minijinja::Environment::new().render_str(&template.unwrap(), ());
        println!("{}", rendered.unwrap_or_else(|error| format!("{:?}", error.kind())));
    }
}
RUST
cargo run --quiet --manifest-path "$folder/rust/Cargo.toml" <"$folder/templates" >"$folder/minijinja"

paste "$folder/jinja2" "$folder/minijinja" >"$folder/seen"
printf 'template\tjinja2 3.1.6\tminijinja 3.1.0\n'
paste "$folder/templates" "$folder/seen"
diff "$folder/expected" "$folder/seen" || {
    echo "it has changed" >&2
    exit 1
}
