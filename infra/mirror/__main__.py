"""The artefact mirror: every binary the site installs, pinned, obtained once, checked, served to the hosts.

    python -m infra.mirror fill [NAME...]    obtain what is missing (nothing, when the store is right)
    python -m infra.mirror verify            read every byte of the store and compare
    python -m infra.mirror list              name, version, state, how it is obtained, upstream
    python -m infra.mirror path NAME         the folder (Pulumi's three, wheels) or the file (the rest)
    python -m infra.mirror serve --host H --port P
    python -m infra.mirror app-wheel         path of the app's wheel, built for the sources as they are now
    python -m infra.mirror checksum NAME     build NAME anew and print its checksums, without taking it into the store

The store is ${BARETICK_CACHE:-~/.cache/baretick}/artefacts/<name>/<version>/<file>, outside every clone.
"""

import argparse
import shutil
import signal
import sys

from infra.mirror.errors import MirrorError


def main(argv: list[str] | None = None) -> int:
    """Run one verb; 1 with a paragraph on standard error when the mirror must stop."""
    parser = argparse.ArgumentParser(
        "python -m infra.mirror", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("fill").add_argument("names", nargs="*", metavar="NAME")
    verbs.add_parser("verify")
    verbs.add_parser("list")
    verbs.add_parser("path").add_argument("name", metavar="NAME")
    verbs.add_parser("checksum").add_argument("name", metavar="NAME")
    verbs.add_parser("app-wheel")
    serve = verbs.add_parser("serve")
    serve.add_argument("--host", required=True)
    serve.add_argument("--port", type=int, required=True)
    args = parser.parse_args(argv)
    # SIGTERM as Ctrl-C (which a background job would ignore): the clients end with us, nothing half-done stays.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        return _run(args)
    except MirrorError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again, it goes on where it stopped", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    # Imported where used: `path` runs before every `pulumi` command and must be quick.
    match args.verb:
        case "fill":
            from infra.mirror.fill import fill

            fill(args.names)
        case "path":
            from infra.mirror.store import path

            print(path(args.name))
        case "app-wheel":
            from infra.mirror.app_wheel import app_wheel

            print(app_wheel())
        case "serve":
            from infra.mirror.server import serve

            serve(args.host, args.port)
        case "verify":
            return _verify()
        case "list":
            _list()
        case "checksum":
            _checksum(args.name)
    return 0


def _verify() -> int:
    from infra.mirror.manifest import load
    from infra.mirror.store import faults

    wrong = 0
    for artefact in load():
        for fault in faults(artefact):
            wrong += 1
            print(f"{artefact.name} {artefact.version}: {fault.file}: expected {fault.expected}, found {fault.found}")
    if wrong:
        print(f"{wrong} wrong; python -m infra.mirror fill obtains what is missing", file=sys.stderr)
        return 1
    print("every artefact in the store is what the manifest says")
    return 0


def _list() -> None:
    from infra.mirror.layout import folder
    from infra.mirror.manifest import load

    for a in load():
        state = ("present" if folder(a).is_dir() else "missing") if a.stored else "by apt"
        print(f"{a.name:24} {a.version:22} {state:8} {a.obtain.kind:7} {a.upstream}")


def _checksum(name: str) -> None:
    from infra.mirror import clients, fill, store
    from infra.mirror.checksums import sha256
    from infra.mirror.layout import scratch
    from infra.mirror.manifest import find

    artefact = find(name)
    with store.exclusive("a fill is running"):
        staged = scratch() / f"{name}.checksum"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        try:
            fill.build(artefact, staged)
            for file in sorted(staged.iterdir()):
                print(f"{sha256(file)}  {file.name}")
        except KeyboardInterrupt:
            clients.stop_all()
            raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
