"""Fills a template: `render.py TEMPLATE NAME=value ... -- WORD ...`, the result on standard output.

`@NAME@` becomes the value as a JSON string, which YAML reads, `@NAME:number@` a whole number, and
`@COMMAND@` the list of words. A line whose value is empty is left out. Needs no installation.
"""

import json
import pathlib
import re
import sys

PLACEHOLDER = re.compile(r"@([A-Z_]+)(:number)?@")


def main(arguments: list[str]) -> str:
    """The filled template."""
    split = arguments.index("--")
    template, *pairs = arguments[:split]
    values = dict(pair.split("=", 1) for pair in pairs)
    lines = pathlib.Path(template).read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(filled(line, values, arguments[split + 1 :]) for line in lines)


def filled(line: str, values: dict[str, str], command: list[str]) -> str:
    """One line, or nothing where a value in it is empty."""
    names = [name for name, _ in PLACEHOLDER.findall(line)]
    if any(name != "COMMAND" and not values[name] for name in names):
        return ""

    def value(match: re.Match[str]) -> str:
        name, number = match.groups()
        if name == "COMMAND":
            return json.dumps(command)
        return str(int(values[name])) if number else json.dumps(values[name])

    return PLACEHOLDER.sub(value, line)


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
