#!/bin/bash
# A Kubernetes cluster of one node on this machine, for tests. See README.md beside this file.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib/settings.sh
source "$HERE/lib/settings.sh"
# shellcheck source=lib/common.sh
source "$HERE/lib/common.sh"
# shellcheck source=lib/build.sh
source "$HERE/lib/build.sh"
# shellcheck source=lib/pki.sh
source "$HERE/lib/pki.sh"
# shellcheck source=lib/node.sh
source "$HERE/lib/node.sh"
# shellcheck source=lib/addons.sh
source "$HERE/lib/addons.sh"

usage() {
  cat >&2 <<TEXT
usage: cluster.sh up | down | status | kubeconfig | bin | crds | load IMAGE… | add OPERATOR…
  up          builds what the cache lacks, starts the cluster and waits until it is ready
  down        ends it and removes all that it made, but for the cache
  status      what runs
  kubeconfig  prints the path of the administrator's kubeconfig
  bin         prints the folder that has kubectl and helm
  crds        adds the resource definitions of cert-manager, KEDA and the Prometheus operator
  load        copies images from the docker daemon into the cluster
  add         runs cert-manager, keda or metrics-server in the cluster
TEXT
  exit 2
}

up() {
  [[ $(id -u) == 0 ]] || die 'needs root'
  build_all
  if ! node_pid >/dev/null; then
    mkdir -p "$STATE"/{logs,run,volumes}
    touch "$STATE/.parley-e2e"
    save_kernel_settings
    make_pki
    start_node
  fi
  wait_for 120 'the API answers' kubectl get --raw /readyz || die "no API: see $STATE/logs"
  load_archives "$CACHE"/images/{pause,coredns,busybox,nats-server}.tar
  kubectl apply --server-side -f <(render manifests/dns.yaml) -f <(render manifests/storage.yaml) >/dev/null
  wait_until_ready
}

wait_until_ready() {
  wait_for 60 'the node has registered' kubectl get node "$NODE_NAME" || die "no node: see $STATE/logs/kubelet.log"
  kubectl wait --for=condition=Ready "node/$NODE_NAME" --timeout=120s >/dev/null
  kubectl --namespace kube-system rollout status deployment/coredns --timeout=120s >/dev/null
  wait_for 90 'names are answered' answers_names || die 'no names: see the log of coredns'
}

answers_names() { in_node busybox nslookup -type=a kubernetes.default.svc.cluster.local "$DNS_SERVICE"; }

down() {
  [[ -e $STATE/.parley-e2e ]] || { say 'cluster: not there' && return; }
  stop_node
  remove_cgroups
  restore_kernel_settings
  # A mount would mean that what lies below is not all ours.
  ! grep -q " $STATE/" /proc/self/mountinfo || die "something is mounted below $STATE"
  rm -rf --one-file-system "$STATE"
  rmdir --ignore-fail-on-non-empty "${PRIVATE_FOLDERS[@]}" 2>/dev/null || true
}

status() {
  node_pid >/dev/null || { say 'cluster: not running' && return 1; }
  components
  kubectl get nodes -o wide
  kubectl get pods --all-namespaces
}

load() {
  (($#)) || usage
  docker save "$@" | in_node ctr --namespace k8s.io images import -
}

crds() {
  collect_crds
  kubectl apply --server-side -f "$CACHE/crds" >/dev/null
  kubectl wait --for=condition=Established --timeout=60s -f "$CACHE/crds" >/dev/null
}

add() {
  local name
  (($#)) || usage
  for name in "$@"; do
    case $name in
      cert-manager) add_cert_manager ;;
      keda) add_keda ;;
      metrics-server) add_metrics_server ;;
      *) usage ;;
    esac
  done
}

command=${1:-}
(($# == 0)) || shift
case $command in
  up | down | status | crds) (($# == 0)) || usage && "$command" ;;
  load | add) "$command" "$@" ;;
  kubeconfig) echo "$KUBECONFIG_FILE" ;;
  bin) echo "$CACHE/bin" ;;
  *) usage ;;
esac
