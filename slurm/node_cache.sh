# Shared by launch.sh and server.sh: make this node's cache of compiled kernels. They are code that runs, so the directory
# must be this user's, and only this user may write there. A directory that is there already is never changed.
if [ -n "${ABLATE_NODE_CACHE-}" ] && [ -z "${ABLATE_DRY_RUN-}" ]; then
  mkdir -p -m 700 "$ABLATE_NODE_CACHE"
  if [ ! -O "$ABLATE_NODE_CACHE" ] || [ -L "$ABLATE_NODE_CACHE" ] || find "$ABLATE_NODE_CACHE" -maxdepth 0 -perm /022 | grep -q .; then
    echo "error: others can write to $ABLATE_NODE_CACHE, or it is a link or another user's: set ABLATE_NODE_CACHE to a new directory of this node" >&2
    exit 2
  fi
fi
