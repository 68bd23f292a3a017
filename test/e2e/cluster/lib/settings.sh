# Versions, addresses and folders of the test cluster: read by cluster.sh and, inside the node, by node.sh.
# shellcheck shell=bash disable=SC2034

# 1.34 runs on containerd 1.6 and on cgroup v1, which is what a Debian 12 machine may have.
KUBERNETES_VERSION=1.34.4
ETCD_VERSION=3.6.4
COREDNS_VERSION=1.15.0
KUBE_ROUTER_VERSION=2.1.0
LOCAL_PATH_VERSION=0.0.30
HELM_VERSION=3.22.0
PAUSE_VERSION=1
BUSYBOX_VERSION=1
CERT_MANAGER_VERSION=1.21.2
KEDA_VERSION=2.21.0
PROMETHEUS_OPERATOR_VERSION=0.85.0
METRICS_SERVER_VERSION=0.9.0
# What the chart runs by default: an image of it, for where no registry is reachable.
NATS_SERVER_VERSION=2.12.15
# The oldest that builds all of them.
GO_VERSION=1.26.4

CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}/kubernetes/$KUBERNETES_VERSION
STATE=${PARLEY_E2E_STATE:-/var/lib/parley-e2e}
KUBECONFIG_FILE=$STATE/admin.kubeconfig

# The node is a set of namespaces; this pair of addresses joins it to the machine, and nothing else listens on it.
NODE_NAME=parley-e2e
LINK=${PARLEY_E2E_LINK:-10.213.0}
HOST_ADDRESS=$LINK.1
NODE_ADDRESS=$LINK.2

# These exist inside the node only, so they cannot clash with the machine's own networks.
POD_SUBNET=10.244.0.0/24
SERVICE_SUBNET=10.96.0.0/16
API_SERVICE=10.96.0.1
DNS_SERVICE=10.96.0.10

API=https://$NODE_ADDRESS:6443

# One cgroup of this name in each hierarchy holds every pod.
CGROUP=/$NODE_NAME

# Programs of the cluster write to these fixed places: inside the node they are folders of the state instead.
PRIVATE_FOLDERS=(/var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers)
