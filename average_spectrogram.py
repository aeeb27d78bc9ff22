"""The console command `average-spectrogram`: the commands of lib, wherever it is typed.

It has a name of its own, because `lib` is a common one. It is found first, and can say that another
package `lib` hides the one that stands beside it.
"""

import importlib
import sys
from pathlib import Path

COMMANDS = {
    "predict": "says before training what a loss will do to your data",
    "download": "fetches a corpus of the report's size",
}


def main(arguments: list[str] | None = None) -> None:
    """Run `lib.COMMAND` with the other arguments; exit with 2 and one line if there is none."""
    given = sys.argv[1:] if arguments is None else arguments
    name, others = "".join(given[:1]), given[1:]
    if name not in COMMANDS:
        for command, words in COMMANDS.items():
            print(f"average-spectrogram {command:<10} {words}; -h lists its options")
        sys.exit(0 if name in ("-h", "--help") else 2)
    own = Path(__file__).resolve().parent / "lib"
    lib = importlib.import_module("lib")
    found = Path(next(iter(lib.__path__))).resolve()
    if found != own:
        print(f"{found} hides {own}: rename or uninstall that package `lib`", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"lib.{name}").main(others)


if __name__ == "__main__":
    main()
