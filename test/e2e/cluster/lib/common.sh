# Small helpers. shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

die() {
  say "cluster: $*"
  exit 1
}

# wait_for SECONDS WHAT COMMAND…: runs the command until it succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.5
  done
  say "cluster: $what ($SECONDS s)"
}

# A pid alone may have been given to another program since; together with its start time it names one process.
start_time() {
  local line
  line=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The program's name, in brackets, may hold blanks: count the fields after it.
  line=${line##*) }
  set -- $line
  echo "${20}"
}

# render FILE: fills in the settings that it names as @NAME@.
render() {
  local text name
  text=$(<"$HERE/$1")
  for name in NODE_NAME HOST_ADDRESS NODE_ADDRESS POD_SUBNET SERVICE_SUBNET DNS_SERVICE CGROUP STATE PAUSE_VERSION \
    COREDNS_VERSION BUSYBOX_VERSION CERT_MANAGER_VERSION; do
    text=${text//@$name@/${!name}}
  done
  printf '%s\n' "$text"
}
