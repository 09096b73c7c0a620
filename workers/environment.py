"""What a child process may see of our own environment."""

import os
from collections.abc import Iterable, Mapping

# What a child needs to find its programs, speak the user's language and reach the GPU and the network. Credentials
# sit in names nobody can list, so whatever is not here stays behind.
CARRIED_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OMP_NUM_THREADS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "NO_PROXY",
    "no_proxy",
)
CARRIED_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


def child_environment(extra: Mapping[str, str] | None = None, *, also: Iterable[str] = ()) -> dict[str, str]:
    """Return an environment for a child: a short list of harmless variables of ours, then `extra`.

    `also` names further variables of ours to hand on where they are set: a secret travels only when it is named.
    """
    carried = {name: os.environ[name] for name in (*CARRIED_VARIABLES, *also) if name in os.environ}
    # A proxy's address may hold a password before the "@": such a one stays behind.
    proxies = {name: os.environ[name] for name in CARRIED_PROXIES if "@" not in os.environ.get(name, "@")}
    return {**carried, **proxies, **(extra or {})}
