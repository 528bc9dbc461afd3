"""HAProxy with the shipped configuration, in front of nodes on other ports."""

import re
import shutil
from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent.parent / "deploy/haproxy/roomwire.cfg"


def program():
    """The path of HAProxy, or None."""
    return shutil.which("haproxy", path="/usr/sbin:/sbin") or shutil.which("haproxy")


def write_configuration(path, bind, nodes):
    """Writes deploy/haproxy/roomwire.cfg with the address `bind` in front of `nodes`."""
    text = SHIPPED.read_text()
    text = re.sub(r"^\s*log /dev/log.*\n", "", text, flags=re.M)
    text = text.replace("fd-hard-limit 200000", "fd-hard-limit 40000")
    text = text.replace("bind :80\n", f"bind {bind}\n")
    text = re.sub(r"^\s*server node\d.*\n", "", text, flags=re.M)
    text += "".join(f"    server node{number} {node}\n" for number, node in enumerate(nodes, 1))
    path.write_text(text)
