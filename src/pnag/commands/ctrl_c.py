"""A Ctrl-C stops the command wherever it falls.

Python raises KeyboardInterrupt between any two steps of the main thread. In a callback of C code
that is not always what comes out: some ignore it, some raise an error of their own instead.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType

_pressed = threading.Event()


def heed_ctrl_c() -> None:
    """Remember a Ctrl-C, and repeat one that is ignored.

    Where it means nothing (a job that a shell started in the background) it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _press)
    sys.unraisablehook = _repeat


def was_ctrl_c(error: BaseException) -> bool:
    """Whether a Ctrl-C caused the error, perhaps through C code that turned it into another."""
    return isinstance(error, KeyboardInterrupt) or _pressed.is_set()


def _press(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)


def _repeat(unraisable: sys.UnraisableHookArgs) -> None:
    if unraisable.exc_type is KeyboardInterrupt:
        # A little later and from outside: at once, it would fall into the same callback. As a
        # signal, which ends a wait of the system's, too, where a thread can be sent one.
        again = threading.Timer(0.05, _interrupt)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _interrupt() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
