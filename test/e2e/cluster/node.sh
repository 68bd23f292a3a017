#!/bin/bash
# The first process of the node: runs in namespaces of its own, made by lib/node.sh. Sets up the node's view of the
# machine, starts the components, and starts again what ends. Ending it ends the whole cluster.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib/settings.sh
source "$HERE/lib/settings.sh"
# shellcheck source=lib/common.sh
source "$HERE/lib/common.sh"
PATH=$CACHE/bin:$PATH

# Still the machine's /proc, so this is the pid outside.
announce() {
  local pid
  read -r pid _ </proc/self/stat
  echo "$pid $(start_time "$pid")" >"$STATE/node.pid.new"
  mv "$STATE/node.pid.new" "$STATE/node.pid"
}

make_mounts() {
  local folder
  # Mounts of volumes and containers have to spread within the node; they cannot leave it.
  mount --make-rshared /
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /run
  for folder in "${PRIVATE_FOLDERS[@]}"; do
    mkdir -p "$STATE/private$folder"
    mount --bind "$STATE/private$folder" "$folder"
  done
}

has_link() { ip link show eth0; }

make_network() {
  hostname "$NODE_NAME"
  ip link set lo up
  wait_for 30 'the link to the machine is there' has_link
  ip address add "$NODE_ADDRESS/30" dev eth0
  ip link set eth0 up
  # No default route: nothing in the cluster reaches beyond this machine. The node itself may use services all the
  # same; where this route points does not matter, since the service's rules choose anew.
  ip route add "$SERVICE_SUBNET" dev eth0
  sysctl -qw net.ipv4.ip_forward=1
  # Pods on one bridge reach each other past the rules for services and policies unless the bridge asks for them.
  modprobe -q br_netfilter || true
  sysctl -qw net.bridge.bridge-nf-call-iptables=1
}

write_configuration() {
  mkdir -p "$STATE"/config/cni
  render config/containerd.toml >"$STATE/config/containerd.toml"
  render config/kubelet.yaml >"$STATE/config/kubelet.yaml"
  render config/kube-proxy.yaml >"$STATE/config/kube-proxy.yaml"
  render config/cni.conflist >"$STATE/config/cni/10-bridge.conflist"
  render config/local-path.json >"$STATE/config/local-path.json"
  # Pods that ask for the machine's names get none.
  : >"$STATE/config/resolv.conf"
}

# run NAME COMMAND…: keeps a component running.
run() {
  local name=$1
  shift
  while true; do
    echo "=== $(date -Is) $*"
    "$@" &
    echo $! >"$STATE/run/$name.pid"
    wait $! || echo "ended with $?"
    sleep 1
  done >>"$STATE/logs/$name.log" 2>&1 &
}

run_store() {
  run etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
}

run_api() {
  local pki=$STATE/pki
  run kube-apiserver kube-apiserver --bind-address "$NODE_ADDRESS" --advertise-address "$NODE_ADDRESS" \
    --etcd-servers http://127.0.0.1:2379 --service-cluster-ip-range "$SERVICE_SUBNET" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/service-accounts.pub" \
    --service-account-signing-key-file "$pki/service-accounts.key" \
    --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- --enable-aggregator-routing \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key"
}

run_controllers() {
  local pki=$STATE/pki
  run kube-controller-manager kube-controller-manager --kubeconfig "$pki/kube-controller-manager.kubeconfig" \
    --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials --root-ca-file "$pki/ca.crt" \
    --service-account-private-key-file "$pki/service-accounts.key" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --allocate-node-cidrs --cluster-cidr "$POD_SUBNET" --service-cluster-ip-range "$SERVICE_SUBNET"
  run kube-scheduler kube-scheduler --kubeconfig "$pki/kube-scheduler.kubeconfig" --bind-address 127.0.0.1 \
    --leader-elect=false
}

run_node() {
  run kubelet kubelet --config "$STATE/config/kubelet.yaml" --kubeconfig "$STATE/pki/kubelet.kubeconfig" \
    --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESS"
  run kube-proxy kube-proxy --config "$STATE/config/kube-proxy.yaml"
}

# Each of them ends at once if what it works with is not there yet.
run_addons() {
  wait_for 120 'the node has registered' cluster get node "$NODE_NAME"
  run kube-router kube-router --kubeconfig "$KUBECONFIG_FILE" --hostname-override "$NODE_NAME" \
    --run-firewall=true --run-router=false --run-service-proxy=false --enable-cni=false --health-port 0 \
    --service-cluster-ip-range "$SERVICE_SUBNET"
  wait_for 120 'storage is configured' cluster --namespace local-path-storage get configmap local-path-config
  run local-path-provisioner local-path-provisioner start --kubeconfig "$KUBECONFIG_FILE" \
    --config "$STATE/config/local-path.json"
}

cluster() { kubectl --kubeconfig "$KUBECONFIG_FILE" "$@"; }

announce
make_mounts
make_network
write_configuration
run containerd containerd --config "$STATE/config/containerd.toml"
run_store
run_api
wait_for 120 'the API answers' cluster get --raw /readyz
run_controllers
run_node
run_addons

# As the first process it is also the parent of whatever lost its own.
while true; do
  wait -n || true
done
