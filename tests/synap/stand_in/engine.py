"""A TEST DOUBLE of `docker` and `podman`, for the few commands that the package gives them.

It isolates nothing. `run` insists on what a run of the toolkit needs (each rule below), shows the
stand-in converter the mounted folder under a name of its own, and keeps the "container" in a
session apart from its own, so that only `kill NAME` ends it, as with a real engine.

State is in the folder `SYNAP_STAND_IN_STATE`: `images` has `name id` lines, `<name>.pid` a running
container. `SYNAP_STAND_IN_ENGINE` makes it fail: down, hang.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

STATE = Path(os.environ["SYNAP_STAND_IN_STATE"])
CONVERTER = Path(__file__).with_name("synap_convert.py")


def main() -> None:
    mode = os.environ.get("SYNAP_STAND_IN_ENGINE", "")
    if mode == "hang":
        time.sleep(600)
    if mode == "down":
        sys.exit("Cannot connect to the daemon. Is the daemon running?")
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "version":
        print("Client: a test double\nServer: a test double")
    elif command == "image" and arguments[:3] == ["inspect", "--format", "{{.Id}}"]:
        print(image_id(arguments[3], f"Error: No such image: {arguments[3]}", 1))
    elif command == "kill":
        os.killpg(int((STATE / f"{arguments[0]}.pid").read_text()), signal.SIGKILL)
    elif command == "run":
        run(arguments)
    else:
        refuse(f"unknown command {command}")


def refuse(text: str, code: int = 125) -> NoReturn:
    sys.stderr.write(f"engine: {text}\n")
    sys.exit(code)


def image_id(name: str, missing: str, code: int) -> str:
    for line in (STATE / "images").read_text().splitlines():
        if name in line.split():
            return line.split()[1]
    refuse(missing, code)


def run(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="engine run", allow_abbrev=False)
    parser.add_argument("--rm", action="store_true")
    for flag in ("--pull", "--name", "--network", "--workdir", "--userns"):
        parser.add_argument(flag)
    parser.add_argument("-u", "--user")
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("--mount", action="append", default=[])
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    image_id(options.image, f"No such image: {options.image}", 125)
    # Nothing may be pulled, reach the network, stay behind, or be somebody else's afterwards.
    if options.pull != "never":
        refuse("an image may be pulled: --pull never is missing")
    if options.network != "none":
        refuse("the network is open: --network none is missing")
    if not options.rm or not options.name:
        refuse("the container would stay, or could not be ended: --rm and --name are missing")
    if options.user != f"{os.getuid()}:{os.getgid()}":
        refuse(f"files would not be the user's: --user is {options.user}")
    # One folder, at one plain path.
    if options.volume or len(options.mount) != 1:
        refuse("exactly one --mount is allowed")
    mount = dict(part.split("=", 1) for part in options.mount[0].split(","))
    if mount.get("type") != "bind" or mount.get("target") != "/synap":
        refuse(f"the mount is not a folder at /synap: {mount}")
    if options.workdir != "/synap":
        refuse("the working directory is not /synap")
    if options.command[:1] != ["convert"]:
        refuse(f"exec: {options.command[:1]}: not found", 127)
    contain(options.name, Path(mount["source"]), options.command[1:], options.env)


def contain(name: str, folder: Path, arguments: list[str], env: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="engine-") as root:
        (Path(root) / "synap").symlink_to(folder)
        inside = [seen(argument, root) for argument in arguments]
        environment = os.environ | dict(item.split("=", 1) for item in env)
        process = subprocess.Popen(
            [sys.executable, str(CONVERTER), *inside], env=environment, start_new_session=True
        )
        (STATE / f"{name}.pid").write_text(str(process.pid))
        code = process.wait()
        (STATE / f"{name}.pid").unlink()
    sys.exit(code if code >= 0 else 128 - code)


def seen(argument: str, root: str) -> str:
    """A path as it is in the container, where only `/synap` is."""
    if argument.startswith("/synap/"):
        return root + argument
    if argument.startswith("/"):
        return f"{root}/not-mounted{argument}"
    is_path = "." in argument or argument == "out"
    return f"{root}/synap/{argument}" if is_path else argument


if __name__ == "__main__":
    main()
