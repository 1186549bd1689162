# Shared by launch.sh and server.sh: make this node's cache of compiled kernels. They are code that runs, so the directory
# must be this user's and closed to others; a directory that somebody else has made is refused.
if [ -n "${ABLATE_NODE_CACHE-}" ] && [ -z "${ABLATE_DRY_RUN-}" ]; then
  mkdir -p -m 700 "$ABLATE_NODE_CACHE"
  if [ ! -O "$ABLATE_NODE_CACHE" ] || [ -L "$ABLATE_NODE_CACHE" ]; then
    echo "error: $ABLATE_NODE_CACHE belongs to another user: set ABLATE_NODE_CACHE to a directory of this node that is yours" >&2
    exit 2
  fi
  chmod 700 "$ABLATE_NODE_CACHE"
fi
