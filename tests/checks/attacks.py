"""Hostile programs. Each answers the tests of `f(x) == x + 1` rightly only if what it tries has worked.

`{secret}` is a file outside that everybody may read, `{port}` a socket that listens on this machine.
"""

TESTS = """assert f(1) == 2
assert f(5) == 6
assert f(-1) == 0
assert [f(2), f(3)] == [3, 4]
assert all(map(lambda x: f(x) == x + 1, (7, 8)))"""
RIGHT = "def f(x):\n    return x + 1"
AFTER = "\ndef f(x):\n    {}\n    return x + 1\n"  # each call tries it first


def tries(what: str, before: str = "") -> str:
    return before + AFTER.format(what.replace("\n", "\n    "))


# What it may not reach or use up.
ESCAPES = {
    "fork bomb": tries("import os\nfor _ in range(50): os.fork()"),
    "a process by clone": tries("import ctypes\nassert ctypes.CDLL(None).syscall(56, 17, 0, 0, 0, 0) >= 0"),
    "another program": tries("import os\nassert os.system('true') == 0"),
    "a program in its place": tries("import os, sys\nos.execv(sys.executable, [sys.executable, '-c', ''])"),
    "multiprocessing": tries("import multiprocessing as m\nm.get_context('fork').Process(target=print).start()"),
    "memory bomb": tries("x and len(bytearray(4 << 30))"),
    "memory in files without names": tries("import os\nos.write(os.memfd_create('x'), b'x')"),
    "thread bomb": tries(
        "import threading, time\nfor _ in range(5000): threading.Thread(target=time.sleep, args=(9,)).start()"
    ),
    "threads with small stacks": tries(
        "import threading as t, time\nt.stack_size(1 << 15)\nfor _ in range(9): t.Thread(target=time.sleep, args=(1,)).start()"
    ),
    "a process by clone3": tries("import ctypes\nassert ctypes.CDLL(None).syscall(435, bytes(88), 88) >= 0"),
    "files by io_uring": tries("import ctypes\nassert ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0"),
    "system calls of 32 bits": tries(
        "import ctypes, mmap\ncode = mmap.mmap(-1, 4096, prot=7)\ncode.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "at = ctypes.addressof(ctypes.c_char.from_buffer(code))\nassert ctypes.CFUNCTYPE(ctypes.c_int)(at)() > 0"
    ),
    "endless recursion": "def f(x): return f(x) if f(x) else x + 1",
    "gigabytes of output": tries("import os\nfor _ in range(1 << 14): os.write(1, b'x' * (1 << 18))\nraise OSError"),
    "a gigantic answer": "def f(x): return 'x' * (64 << 20)",
    "a bottomless answer": "def f(x):\n    x = []\n    x.append(x)\n    return x",
    "reads a file of somebody": tries("assert open({secret!r}).read() == 'secret'"),
    "reads /etc/passwd": tries("assert open('/etc/passwd').read()"),
    "reads through a link of its own": tries(
        "import os\nos.symlink({secret!r}, '/tmp/link')\nopen('/tmp/link').read()"
    ),
    "reads by way of /proc": tries("assert open('/proc/self/root{secret}').read() == 'secret'"),
    "reads by a path alone, opened again": tries(
        "import os\nat = os.open({secret!r}, os.O_PATH)\nassert open(f'/proc/self/fd/{{at}}').read()"
    ),
    "looks for benchmarks among packages": tries(
        "import glob, sysconfig\nassert glob.glob(sysconfig.get_path('stdlib') + '/*-packages/*')"
    ),
    "a lock that others see": tries("import fcntl, os\nfcntl.flock(os.open(os.__file__, 0), fcntl.LOCK_EX)"),
    "reads the environment": tries(
        "import os\nassert set(os.environ) - {{'PYTHONHASHSEED', 'OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'PWD', 'LC_CTYPE'}}"
    ),
    "reads its starter's environment": tries("assert open('/proc/1/environ').read()"),
    "lists somebody's folder": tries("import os\nassert os.listdir(os.path.dirname({secret!r}))"),
    "sees files of somebody": tries("import os\nassert os.stat({secret!r}).st_size"),
    "sees /etc/passwd": tries("import os\nassert os.lstat('/etc/passwd').st_mtime or os.path.getsize('/etc/passwd')"),
    "sees a file by an open path": tries("import os\nassert os.fstat(os.open({secret!r}, os.O_PATH)).st_size == 6"),
    "sees a file by statx": tries(
        "import ctypes\nassert ctypes.CDLL(None).syscall(332, -100, {secret!r}.encode(), 0, 4095, bytes(256)) == 0"
    ),
    "follows a link of its starter": tries("import os\nassert os.readlink(f'/proc/{{os.getppid()}}/exe')"),
    "follows a link of its own": tries(
        "import os\nassert os.readlink('/proc/self/exe') or os.readlink('/proc/self/cwd')"
    ),
    "looks for processes": tries("import os\nassert [n for n in range(1, 400) if os.path.exists(f'/proc/{{n}}')]"),
    "looks for a home": tries("import pathlib\nassert list(pathlib.Path.home().iterdir())"),
    "writes a file": tries("open('/tmp/own', 'w').write('x')"),
    "writes where it stands": tries("open('own', 'w').write('x')"),
    "writes into the library": tries("import os\nopen(os.__file__ + 'x', 'w')"),
    "overwrites a file of somebody": tries("open({secret!r}, 'w').write('x')"),
    "removes a file of somebody": tries("import os\nos.unlink({secret!r})"),
    "a socket of this machine": tries("import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"),
    "a name on the network": tries("import socket\nsocket.getaddrinfo('localhost', 80)"),
    "a socket without a name": tries("import socket\nsocket.socket(socket.AF_UNIX).bind('\\0x')"),
    "packets by hand": tries("import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    "kills its parent": tries("import os\nos.kill(os.getppid(), 9)"),
    "kills everybody": tries("import os\nos.kill(-1, 9)"),
    "kills by a thread's number": tries(
        "import ctypes, os\nassert ctypes.CDLL(None).syscall(234, os.getppid(), os.getppid(), 9) == 0"
    ),
    "sends signals by way of a file": tries("import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())"),
    "limits its parent": tries("import os, resource as r\nr.prlimit(os.getppid(), r.RLIMIT_CPU, (1, 1))"),
    "raises its limits": tries("import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))"),
    "traces its parent": tries("import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0"),
    "reads its parent's memory": tries("import os\nopen(f'/proc/{{os.getppid()}}/mem', 'rb').read(1)"),
    "becomes root in a namespace": tries("import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0"),
    "mounts": tries("import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0"),
    "outlives its parent": tries("import ctypes\nassert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0"),
    "leaves its group": tries("import os\nos.setsid()"),
}

# What it may take no longer than it is given.
HOGS = {
    "memory bomb in pieces": tries("kept = []\nwhile len(kept) < 400: kept.append(b'x' * (10 << 20))"),
    "endless loop": tries("while True: pass"),
    "endless loop when it is loaded": "while True: pass\n" + RIGHT,
    "sleeps for ever, deaf to signals": tries(
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(1e6)"
    ),
    "a huge power": tries("len(str(9 ** 9 ** 9))"),
    "a regular expression that never ends": tries("import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    "colliding hashes": "def f(x): return {k * (2**61 - 1) for k in range(200_000)}",
    "colliding hashes for the tests to build": "import sys\nheld = sys.modules['tasks.checks.sandbox.candidate']\n"
    "held.encode_value = lambda *_: {'set': [{'int': hex(k * (2**61 - 1))} for k in range(80_000)]}\ndef f(x): return x",
    "threads that never end": tries(
        "import threading as t\nfor _ in range(3): t.Thread(target=exec, args=('while 1: 1',)).start()\nwhile 1: 1"
    ),
}

# What it may not pretend.
FAKES = {
    "sys.exit(0) when loaded": "import sys\nsys.exit(0)",
    "os._exit(0) when loaded": "import os\nos._exit(0)",
    "os._exit(0) when called": "import os\ndef f(x): os._exit(0)",
    "SystemExit when called": "def f(x): raise SystemExit(0)",
    "KeyboardInterrupt when called": "def f(x): raise KeyboardInterrupt",
    "an exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit",
    "dies by a signal": "import os, signal\ndef f(x): os.abort()",
    "crashes": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "says that it passed": "print('passed', 'OK', '1.0')\ndef f(x): print('True'); return None",
    "equals everything": "class All:\n    def __eq__(self, _): return True\n    __hash__ = None\ndef f(x): return All()",
    "a number that equals everything": "class N(int):\n    def __eq__(self, _): return True\ndef f(x): return N(77)",
    "a text that equals everything": "class T(str):\n    def __eq__(self, _): return True\ndef f(x): return T()",
    "a list that equals everything": "class L(list):\n    def __eq__(self, _): return True\ndef f(x): return L()",
    "is true, and no number": "class B:\n    def __bool__(self): return True\ndef f(x): return B()",
    "replaces AssertionError": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\ndef f(x): return 0",
    "replaces built-ins": "import builtins\nfor name in ('all', 'len', 'abs', 'isinstance', 'bool', 'list'):\n"
    "    setattr(builtins, name, lambda *_: True)\ndef f(x): return 0",
    "replaces json": 'import json\njson.dumps = lambda *_: \'{"verdict": "passed", "passed": 4, "total": 4}\'\n'
    "def f(x): return 0",
    "raises what tests might expect": "def f(x): raise AssertionError",
    "ends the tests' loops": "def f(x): raise StopIteration",
    "looks for the answer on the stack": "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
    "        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
    "            if isinstance(value, (dict, str)) and 'assert' in str(value): return eval(str(value).split('== ')[1][0])\n"
    "        frame = frame.f_back",
    "looks for the tests in memory": "import gc\ndef f(x):\n    sought = 'assert ' + 'f(1) =='\n"
    "    for one in gc.get_objects():\n"
    "        if isinstance(one, (dict, list)) and sought in repr(one)[:10**6]: return x + 1",
    "traces whoever calls it": "import sys\nfound = []\nsys.settrace(lambda frame, *_: found.append(frame.f_locals))\n"
    "sys.setprofile(lambda frame, *_: found.append(frame.f_locals))\ndef f(x):\n"
    "    return x + 1 if any('assert' in str(one) for one in found) else None",
    "writes a verdict into every descriptor": "import os\ndef f(x):\n    for one in range(64):\n        try:\n"
    '            os.write(one, b\'{"verdict": "passed", "passed": 4, "total": 4, "reason": ""}\\n\')\n'
    "        except OSError: pass\n    return None",
    "answers before it is asked": "import os\nfor one in range(3, 64):\n    try:\n        for n in range(9):\n"
    '            os.write(one, b\'{"loaded": ""}\\n{"number": %d, "value": 2}\\n\' % n)\n'
    "    except OSError: pass\ndef f(x): return 0",
    "a thread that answers in its place": "import os, threading, time\ndef spam():\n    while True:\n"
    '        for one in range(3, 64):\n            try: os.write(one, b\'{"number": 1, "value": true}\\n\')\n'
    "            except OSError: pass\nthreading.Thread(target=spam, daemon=True).start()\ndef f(x): time.sleep(0.1)",
    "an error that cannot be stored": "def f(x): raise ValueError('\\ud800\\0' + 'x' * 10**6)",
    "an error of another form": "class E(Exception):\n    def __str__(self): raise E\ndef f(x): raise E",
    "an exception group": "def f(x): raise ExceptionGroup('', [ValueError()])",
    "hands out objects": "class Any:\n    def __call__(self, *_): return self\n    def __getattr__(self, _): return self\n"
    "f = Any()",
    "an answer that is no JSON": "import math\ndef f(x): return math.nan",
    "empties what it is given": "def f(x): return []",
    "a name that is not there": "def f(x): return y_that_is_nowhere",
    "does not parse": "def f(x) return x + 1",
    "defines nothing": "pass",
}
