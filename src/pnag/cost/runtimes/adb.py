"""An Android phone on the other end of `adb`: its properties, files and commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pnag.errors import PnagError

TIMEOUT = 300.0  # seconds; a push of 50 MB or a turn of runs takes a few
SHORT_TIMEOUT = 15.0  # of what takes a moment; the first call also starts adb's server
_STATES = {
    "unauthorized": "unlock it and allow this computer to debug it",
    "offline": "plug it in again, or restart adb with `adb kill-server`",
    "no permissions": "add its udev rule: https://developer.android.com/studio/run/device",
}


class PhoneGoneError(PnagError):
    """The phone does not answer any more: not this command, and so no other either."""


@dataclass(frozen=True)
class Phone:
    """One device that adb reaches.

    Attributes:
        adb: the binary. serial: as `adb devices` lists it.
    """

    adb: str
    serial: str

    def property(self, name: str) -> str:
        """A system property, empty if it is not set."""
        return self.shell("getprop", name).strip()

    def push(self, file: Path, to: str) -> None:
        """Copy a file to the phone.

        Raises:
            PnagError: if the phone is gone or refuses it, e.g. because it is full.
        """
        self._run("push", str(file), to)

    def shell(self, *command: str, timeout: float = TIMEOUT) -> str:
        """Run a command on the phone; what it prints, errors too.

        Args:
            timeout: seconds that the phone may take.

        Raises:
            PhoneGoneError: (a PnagError) if the phone is gone.
            PnagError: if the command fails.
        """
        return self._run("shell", f"{shlex.join(command)} 2>&1", timeout=timeout)

    def _run(self, *arguments: str, timeout: float = TIMEOUT) -> str:
        done = _adb(self.adb, "-s", self.serial, *arguments, timeout=timeout)
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-500:]
        state = _adb(self.adb, "-s", self.serial, "get-state", timeout=SHORT_TIMEOUT)
        if state.returncode != 0 or state.stdout.strip() != "device":
            raise PhoneGoneError(
                f"the phone {self.serial} is gone ({said.splitlines()[-1]}): plug it in again and "
                "give the same command, which continues where it stopped"
            )
        raise PnagError(f"`adb {' '.join(arguments)}` failed on {self.serial}: {said}")


def find_phone(serial: str | None = None) -> Phone:
    """The phone of a serial number, or the only one there is.

    Args:
        serial: as `adb devices` lists it; None takes adb's own ANDROID_SERIAL if that is set.

    Raises:
        PnagError: without adb, without a phone, with several and no serial, or if the phone does
            not let this computer in.
    """
    adb = shutil.which("adb")
    if adb is None:
        raise PnagError(
            "there is no `adb` on the PATH; install Android's platform tools: "
            "https://developer.android.com/tools/releases/platform-tools"
        )
    done = _adb(adb, "devices", timeout=SHORT_TIMEOUT)
    if done.returncode:
        raise PnagError(f"`adb devices` failed: {(done.stderr or done.stdout).strip()}")
    _, _, listed = done.stdout.partition("List of devices attached")
    states = dict(line.split(None, 1) for line in listed.splitlines() if len(line.split()) > 1)
    serial = serial or os.environ.get("ANDROID_SERIAL")
    if not states:
        wanted = f" (looked for {serial})" if serial else ""
        raise PnagError(
            f"adb sees no phone{wanted}; plug one in and switch on USB debugging in its developer "
            "options"
        )
    if serial is None:
        if len(states) > 1:
            raise PnagError(
                f"adb sees {len(states)} phones ({', '.join(states)}); choose one with --adb SERIAL"
            )
        (serial,) = states
    if serial not in states:
        raise PnagError(f"adb sees no phone {serial}, only {', '.join(states)}")
    state = states[serial].strip()
    if state != "device":
        fix = next((fix for name, fix in _STATES.items() if state.startswith(name)), "restart it")
        raise PnagError(f"adb cannot use the phone {serial}, its state is {state!r}: {fix}")
    return Phone(adb, serial)


def _adb(adb: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [adb, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PhoneGoneError(
            f"`adb {' '.join(arguments)}` has not answered for {timeout:g} s; plug the phone in "
            "again, or restart adb with `adb kill-server`"
        ) from error
    except OSError as error:
        raise PnagError(
            f"cannot run {adb}: {error.strerror or error}; reinstall Android's platform tools"
        ) from error
