# The cluster's certificates and the kubeconfigs made of them. shellcheck shell=bash

certificate() { # NAME SUBJECT [ALTERNATIVE-NAMES]
  local pki=$STATE/pki/$1
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$pki.key" -out "$pki.csr"
  openssl x509 -req -in "$pki.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -CAcreateserial -days 365 \
    -out "$pki.crt" -extfile <(
      echo 'extendedKeyUsage=clientAuth,serverAuth'
      [[ -z ${3:-} ]] || echo "subjectAltName=$3"
    )
}

kubeconfig() { # NAME FILE
  local pki=$STATE/pki
  cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: $NODE_NAME
clusters:
- name: $NODE_NAME
  cluster: { server: "$API", certificate-authority-data: $(base64 -w0 "$pki/ca.crt") }
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
    client-key-data: $(base64 -w0 "$pki/$1.key")
contexts:
- name: $NODE_NAME
  context: { cluster: $NODE_NAME, user: $1 }
YAML
}

make_pki() (
  local pki=$STATE/pki name
  [[ ! -e $KUBECONFIG_FILE ]] || return 0
  mkdir -p "$pki"
  # Whoever reads these is the cluster's administrator.
  umask 077
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=$NODE_NAME-ca \
      -keyout "$pki/ca.key" -out "$pki/ca.crt"
    openssl genrsa -out "$pki/service-accounts.key" 2048
    openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"
    certificate apiserver /CN=kube-apiserver "$(api_names)"
    certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
    certificate front-proxy /CN=front-proxy
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME"
    certificate admin /O=system:masters/CN=admin
    for name in kube-controller-manager kube-scheduler kube-proxy; do
      certificate "$name" "/CN=system:$name"
    done
  } 2>"$STATE/logs/pki.log"
  for name in kubelet kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig "$name" "$pki/$name.kubeconfig"
  done
  kubeconfig admin "$KUBECONFIG_FILE"
)

api_names() {
  local service=kubernetes.default.svc
  printf 'DNS:%s,' kubernetes kubernetes.default $service $service.cluster.local localhost
  echo "IP:$NODE_ADDRESS,IP:$API_SERVICE,IP:127.0.0.1"
}
