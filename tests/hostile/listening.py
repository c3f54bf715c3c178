"""Where a server can be reached from, by what the system says of its sockets."""

import psutil


def addresses(port: int) -> set[str]:
    """All addresses at which the process that answers at this port listens, and whatever it has started."""
    listening = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    (owner,) = {one.pid for one in listening if one.laddr.port == port}
    family = {owner, *(child.pid for child in psutil.Process(owner).children(recursive=True))}
    return {one.laddr.ip for one in listening if one.pid in family}
