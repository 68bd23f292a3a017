# The node from outside: a private set of namespaces, started, entered and ended as one. shellcheck shell=bash

# Settings of the whole kernel that the kubelet changes, or that many pods need: put back at the end.
KERNEL_SETTINGS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
  kernel.keys.root_maxbytes fs.inotify.max_user_instances)

# The pid of the node's first process; fails unless it is still the process that this script started.
node_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$STATE/node.pid" || return 1
  [[ $(start_time "$pid") == "$started" ]] || return 1
  echo "$pid"
}

in_node() {
  local pid
  pid=$(node_pid) || die 'the cluster is not running'
  nsenter --target "$pid" --mount --net --pid --ipc --uts -- "$@"
}

kubectl() { "$CACHE/bin/kubectl" --kubeconfig "$KUBECONFIG_FILE" "$@"; }

save_kernel_settings() {
  local name
  [[ ! -e $STATE/kernel-settings ]] || return 0
  for name in "${KERNEL_SETTINGS[@]}"; do
    echo "$name=$(sysctl -n "$name")"
  done >"$STATE/kernel-settings"
  (($(sysctl -n fs.inotify.max_user_instances) >= 1024)) || sysctl -qw fs.inotify.max_user_instances=1024
}

restore_kernel_settings() {
  local line
  [[ -e $STATE/kernel-settings ]] || return 0
  while read -r line; do
    sysctl -qw "$line" || true
  done <"$STATE/kernel-settings"
}

# The hierarchies of cgroup v1, or the one of v2.
cgroup_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo /sys/fs/cgroup
  else
    find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d
  fi
}

make_cgroups() {
  local root
  for root in $(cgroup_roots); do
    mkdir -p "$root$CGROUP"
    # A cpuset of v1 without processors or memory takes no process.
    if [[ -e $root/cpuset.cpus && -e $root/cpuset.mems ]]; then
      cat "$root/cpuset.cpus" >"$root$CGROUP/cpuset.cpus"
      cat "$root/cpuset.mems" >"$root$CGROUP/cpuset.mems"
    fi
  done
}

remove_cgroups() {
  local root
  for root in $(cgroup_roots); do
    [[ ! -d $root$CGROUP ]] || find "$root$CGROUP" -depth -type d -exec rmdir {} +
  done
}

start_node() {
  local pid
  # That of a node that was killed goes a moment after it.
  wait_for 10 'no other node is there' no_link || die "there is an interface $NODE_NAME: another cluster runs here"
  mkdir -p "${PRIVATE_FOLDERS[@]}"
  # What a node that was killed has left, the kubelet would take for running containers.
  remove_cgroups
  make_cgroups
  rm -f "$STATE/node.pid" "$STATE"/run/*
  # An environment of its own: what the caller has set, say a proxy, is not for the cluster.
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    PARLEY_CACHE="${CACHE%/kubernetes/*}" PARLEY_E2E_STATE="$STATE" PARLEY_E2E_LINK="$LINK" \
    setsid unshare --mount --net --pid --ipc --uts --fork --propagation private -- \
    bash "$HERE/node.sh" >"$STATE/logs/node.log" 2>&1 </dev/null &
  wait_for 30 'the node has started' node_pid || die "no node: see $STATE/logs/node.log"
  pid=$(node_pid)
  ip link add "$NODE_NAME" type veth peer name eth0 netns "$pid"
  ip address add "$HOST_ADDRESS/30" dev "$NODE_NAME"
  ip link set "$NODE_NAME" up
}

# The kernel ends every process of a pid namespace with its first; mounts, interfaces and rules go with the last.
stop_node() {
  local pid
  pid=$(node_pid) || return 0
  kill -KILL "$pid"
  wait_for 60 'every process of the node has ended' node_is_gone "$pid" || die "process $pid does not end"
}

no_link() { ! ip link show "$NODE_NAME"; }
node_is_gone() { ! start_time "$1" && no_link; }

load_archives() {
  local archive
  for archive in "$@"; do
    in_node ctr --namespace k8s.io images import - <"$archive" >>"$STATE/logs/images.log"
  done
}

# Says which components run, and for how long.
components() {
  local file name
  for file in "$STATE"/run/*.pid; do
    name=$(basename "$file" .pid)
    printf '%-26s ' "$name"
    in_node ps -o etime=,rss= -p "$(cat "$file")" | awk '{ printf "up %s, %d MB", $1, $2 / 1024 }' || true
    printf ', started %s times\n' "$(grep -c '^=== ' "$STATE/logs/$name.log")"
  done
}
