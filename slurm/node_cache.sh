# Shared by launch.sh and server.sh: make this node's cache of compiled kernels. They are code that runs, so the directory
# must be this user's and closed to others. A directory that is there already is never changed: an open one is refused.
if [ -n "${ABLATE_NODE_CACHE-}" ] && [ -z "${ABLATE_DRY_RUN-}" ]; then
  mkdir -p -m 700 "$ABLATE_NODE_CACHE"
  if [ ! -O "$ABLATE_NODE_CACHE" ] || [ -L "$ABLATE_NODE_CACHE" ] || [ "$(stat -c %a "$ABLATE_NODE_CACHE")" != 700 ]; then
    echo "error: $ABLATE_NODE_CACHE is another user's, or open to others: set ABLATE_NODE_CACHE to a new directory of this node" >&2
    exit 2
  fi
fi
