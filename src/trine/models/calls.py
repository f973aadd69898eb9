"""What a pickle would import and call, read without running it."""

from __future__ import annotations

import pickletools
from typing import Any, cast

from trine.errors import InvalidInput

HARMFUL_MODULES = frozenset(
    """
    _aix_support _bootsubprocess _posixsubprocess _pyrepl _socket aiohttp asyncio bdb cProfile cgi code codeop commands
    concurrent ctypes cffi distutils dis ensurepip faulthandler ftplib gc http httpx imaplib imp importlib linecache
    marshal mmap multiprocessing nntplib nt ntpath os pdb pickle _pickle pip pipes pkgutil pkg_resources poplib posix
    posixpath profile pty py_compile pydoc requests resource rlcompleter runpy setuptools shelve shutil signal site
    smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig tempfile threading timeit tokenize torch.hub trace
    traceback turtle urllib urllib3 venv webbrowser winreg wsgiref xmlrpc zipfile zipimport
    """.split()  # noqa: SIM905
)
HARMFUL_NAMES = frozenset(
    """
    builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__ builtins.getattr builtins.setattr
    builtins.delattr builtins.globals builtins.locals builtins.vars builtins.input builtins.breakpoint
    builtins.memoryview __builtin__.eval __builtin__.exec __builtin__.execfile __builtin__.compile __builtin__.open
    __builtin__.__import__ __builtin__.getattr __builtin__.apply __builtin__.file operator.attrgetter
    operator.methodcaller operator.itemgetter functools.reduce types.CodeType types.FunctionType types.MethodType
    io.open io.FileIO _io.open _io.FileIO
    numpy.load numpy.loads numpy.fromfile numpy.memmap numpy.f2py.compile numpy.testing._private.utils.runstring
    joblib.load torch.load dill.loads cloudpickle.loads pandas.read_pickle pandas.io.pickle.read_pickle
    polars.read_csv
    """.split()  # noqa: SIM905
)


def is_harmful(name: str) -> bool:
    """Whether something that a pickle names can be there only to do harm."""
    if name in HARMFUL_NAMES:
        return True
    parts = name.split(".")
    return any(".".join(parts[:count]) in HARMFUL_MODULES for count in (1, 2)) or any(
        one.startswith("__") and one not in ("__main__", "__builtin__") for one in parts
    )


def calls_of(data: bytes) -> list[str]:
    """Every name that a pickle looks up, in order. Raises InvalidInput when that cannot be told without running it."""
    found: list[str] = []
    memo: dict[int, str | None] = {}
    texts: list[str | None] = []  # those that were pushed just now, with nothing else between
    try:
        for code, given, _ in pickletools.genops(data):
            name, argument = code.name, cast("Any", given)
            if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else int(argument)] = texts[-1] if texts else None
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                texts.append(memo.get(int(argument)))
            elif "UNICODE" in name or name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):
                texts.append(str(argument))
            elif name == "STACK_GLOBAL":
                if len(texts) < 2 or None in texts[-2:]:
                    raise InvalidInput("The model is refused: its pickle computes the name of what it calls.")
                found.append(f"{texts[-2]}.{texts[-1]}")
                texts = []
            else:
                texts = []
                if name in ("GLOBAL", "INST"):
                    found.append(str(argument).replace(" ", ".", 1))
                elif name in ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"):
                    raise InvalidInput("The model is refused: its pickle takes things from outside.")
    except InvalidInput:
        raise
    except Exception as error:  # genops raises whatever a broken pickle makes it
        raise InvalidInput(f"The model is refused: its pickle cannot be read ({error}).") from error
    return found
