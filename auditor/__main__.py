"""The same engine for those who live in a shell: `python -m auditor trace|edit|bulk|benchmark|export|verify`.

1. Results go to stdout, in plain words or, with `--json`, as one JSON value per line; progress goes to stderr, and only
   where that is a terminal.
2. A session is a file (`--session FILE`), the page's own: read if it is there, rewritten in one piece after every
   accepted or failed change.
3. Exit status: 0 done; 1 not fixed, or not verified; 2 wrong input, with one sentence on stderr; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from auditor.errors import AuditorError, UserError

WRONG, STOPPED = 2, 130
VERIFY = "verify"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. Ask `{self.prog} --help` for what there is.")


def options() -> argparse.ArgumentParser:
    """Every command with its options."""
    common = _Parser(add_help=False)
    common.add_argument("--model", help="pocket, a folder, or a Hub id (default: as the program chooses)")
    common.add_argument("--json", action="store_true", help="print one JSON value per result in place of words")
    session = "session file: its changes are live, and new ones are kept in it"
    claim = _Parser(add_help=False)
    claim.add_argument("subject", help="what the claim is about, such as “The Eiffel Tower”")
    claim.add_argument("relation", help="the words that follow, up to the answer, such as “is located in”")
    fit = _Parser(add_help=False)
    fit.add_argument("--method", default="rome", help="default: %(default)s")
    fit.add_argument("--preset", default="default", help="the method's settings (default: %(default)s)")
    fit.add_argument("--category", default="factuality",
                     help="factuality, bias, overcensoring or undercensoring (default: %(default)s)")
    parser = _Parser(prog="python -m auditor", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    trace = commands.add_parser("trace", parents=[claim, common], help="show where in the model an answer comes from")
    trace.add_argument("--answer", required=True, help="the answer to follow, such as Paris")
    trace.add_argument("--part", default="residual", help="residual, mlp or attention (default: %(default)s)")
    trace.add_argument("--session", type=Path, help="session file: its changes are live")
    edit = commands.add_parser("edit", parents=[claim, fit, common], help="try one fix and check it")
    edit.add_argument("--old", default="", help="what the model says now (default: its own answer)")
    edit.add_argument("--new", required=True, help="what it should say")
    edit.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    edit.add_argument("--session", type=Path, help=session)
    bulk = commands.add_parser("bulk", parents=[fit, common], help="work through a list of fixes in order")
    bulk.add_argument("list", type=Path, metavar="FILE", help="rows of subject, relation, old, new; commas or tabs")
    bulk.add_argument("--session", type=Path, help=session)
    bench = commands.add_parser("benchmark", parents=[common], help="measure the quality of an accepted change")
    bench.add_argument("change", metavar="CHANGE_ID", help="id of the change, or its beginning")
    bench.add_argument("--rows", type=Path, metavar="FILE", help="own cases: kind, prompt, old, new, tab-separated")
    bench.add_argument("--names", nargs="+", metavar="NAME", help="benchmarks to run (default: all thirteen)")
    bench.add_argument("--session", type=Path, required=True, help="session file with the change; gets the scores")
    export = commands.add_parser("export", parents=[common], help="write the edited model and its evidence")
    export.add_argument("folder", type=Path, help="an empty or new folder")
    export.add_argument("--sign", type=Path, metavar="KEY", help="OpenSSH private key (Ed25519) to sign the manifest")
    export.add_argument("--session", type=Path, required=True, help="session file with the changes")
    commands.add_parser(VERIFY, add_help=False, help="check somebody's edited model against its record")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not sys.stderr.isatty():
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as transformers reads it when imported
        if arguments[:1] == [VERIFY]:
            from auditor.verify import main as verify
            return verify(arguments[1:])
        chosen = options().parse_args(arguments)
        from auditor import shell  # torch and the model take seconds to import; a wrong option is told at once
        voice = shell.Voice(chosen.json)
        try:
            return getattr(shell, chosen.command)(chosen, voice)
        except KeyboardInterrupt:
            return _failed(f"Stopped. {voice.kept}", STOPPED)
        finally:
            voice.progress("")
    except AuditorError as error:
        return _failed(str(error), WRONG)
    except OSError as error:
        name = f" “{error.filename}”" if error.filename else ""
        return _failed(f"The file{name} could not be read or written ({error.strerror}).", WRONG)
    except KeyboardInterrupt:
        return _failed("Stopped. Nothing was changed.", STOPPED)


def _failed(sentence: str, status: int) -> int:
    sys.stderr.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")
    raise SystemExit(main())
