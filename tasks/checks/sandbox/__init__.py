"""Runs model-written programs safely. Start with `outside.py`: it finds a sandbox that holds, and starts processes in it.

`inside.py` is the server in the sandbox; it starts candidate, examiner, script and comparing.
The walls: `seccomp.py` (system calls), `landlock.py` (files), `namespaces.py` (files, network, other processes).
`probe.py` is a simulated attack, which each sandbox must withstand before it is used."""
