#!/usr/bin/env bash
# Create .venv in the current folder from pyproject.toml and constraints.txt, or return at once when it is up to date.
# A stamp with the digest of both files is written last, so an interrupted installation is taken up again.
set -euo pipefail

venv=.venv
stamp=$venv/genvar-installed
log=$venv/install.log
# The folder is part of the digest: a virtual environment does not survive being moved.
digest=$( (pwd; cat pyproject.toml constraints.txt) | cksum)

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then
  exit 0
fi

usable() { # a name on the PATH may be a shim that only prints an error, so each candidate is run
  "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1
}

if ! usable "$venv/bin/python"; then
  python=
  for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
    if usable "$candidate"; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "genvar needs Python 3.10, 3.11 or 3.12 with the venv module, and found none of" \
      "${PYTHON:-python3.11, python3.12, python3.10, python3}:" \
      "install one (Debian and Ubuntu: apt-get install python3 python3-venv) or name it with PYTHON=/path/to/python." >&2
    exit 2
  fi
  echo "Creating $venv with $("$python" --version)."
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

rm -f "$stamp"
echo "Installing genvar and its packages into $venv: about 9 GB on disk, 2 to 15 minutes, once."
# pip says one line a package; the large ones and the long silent end are what a person wants to see.
# shellcheck disable=SC2016  # a program of awk
show='/^ *(Downloading|Using cached) .*\.whl.* \([0-9.]+ [MG]B\)/ {
        split($(NF - 2), part, "-"); print "  " part[1] " " part[2] " " $(NF - 1) " " $NF; fflush() }
      /^Installing collected packages/ { print "  Unpacking all packages, the longest part ..."; fflush() }'
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
  -c constraints.txt -e '.[dev]' 2>&1 | tee "$log" | awk "$show"; then
  grep -E '^ *(ERROR|error|WARNING: Retrying)' "$log" | tail -5 >&2 || true
  echo "Installing the packages failed; the whole output is in $log. The same command tries again." >&2
  exit 2
fi
echo "$digest" >"$stamp"
echo "Installed."
