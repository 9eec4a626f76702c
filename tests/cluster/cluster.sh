#!/usr/bin/env bash
# A Kubernetes cluster for tests, in namespaces of its own on this machine: the real control plane,
# kube-proxy, metrics-server, and nodes with real kubelets over a container runtime of ours whose
# containers are processes of this machine (node/). See docs/how-to/test-cluster.md.
#   needs       say what this machine lacks for it; exit 77 if anything
#   built       whether it is in the cache already: exit 0, else 1
#   build       build what is missing into a cache outside the clone; minutes once, seconds after
#   up, down    start it, take it away; whatever a killed one left is swept first
#   crash N     node N and all its pods die at once, as when a machine loses its power
#   node N      start node N (again)
#   image NAME:TAG TREE   an image of the service as it stands in another tree, with its .venv
#   kubectl ... kubectl 1.36, as the cluster's administrator
# All of it lives below two processes of the kind "first of its PID namespace": when one is killed,
# the kernel ends what is below it, and its mounts and network go with it.
set -euo pipefail
HERE=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SELF=$HERE/cluster.sh
TREE=$(dirname "$(dirname "$HERE")")
STATE=/var/tmp/mc-cluster
NAME=mc-cluster      # the machine's end of the link to the cluster, and the control group
HOST=10.87.0.1       # this machine, as pods see it
API=10.87.0.2        # the API server, as this machine and pods see it
PODS=10.88.0.0/16    # node N has 10.88.N.0/24
SERVICES=10.96.0.0/16
VERSION=v1.36.0
KUBECONFIG=$STATE/kubeconfig
export KUBECONFIG GOTOOLCHAIN=local

fail() { echo "cluster: $*" >&2; exit 1; }

# The directory of the binaries; other versions of them stand beside it
cache() {
  local key
  key=$(sha256sum <"$HERE/go.sum" | cut -c1-12)
  echo "${XDG_CACHE_HOME:-$HOME/.cache}/mc-platform-cluster/$key"
}

cgroups() { # where control groups of version 2 are mounted
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else echo /sys/fs/cgroup/unified; fi
}

needs() {
  local missing=() tool
  [ "$(id -u)" = 0 ] || missing+=("root (namespaces are made)")
  for tool in ip nft nsenter unshare setsid openssl; do
    command -v $tool >/dev/null || missing+=("the command $tool")
  done
  if ! built; then
    go version 2>/dev/null | grep -qE 'go1\.(2[6-9]|[3-9][0-9])' || missing+=("Go 1.26 or newer, to build Kubernetes")
  fi
  if [ ${#missing[@]} = 0 ]; then
    unshare --net nft add table ip trial 2>/dev/null || missing+=("nftables in the kernel")
    unshare --net ip link add trial type veth peer name other 2>/dev/null || missing+=("veth interfaces")
    unshare --mount bash -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r &&
      mount -t overlay overlay /mnt/r -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w' 2>/dev/null || missing+=("overlayfs over the machine's root")
    { mkdir -p "$(cgroups)/$NAME" && [ -e "$(cgroups)/$NAME/cgroup.procs" ]; } 2>/dev/null || missing+=("control groups of version 2")
  fi
  [ ${#missing[@]} = 0 ] && return
  printf 'a test cluster needs what is missing here: %s\n' "$(IFS=';'; echo "${missing[*]}")" >&2
  exit 77
}

built() { [ -e "$(cache)/built" ]; }

build() {
  local bin package=k8s.io/component-base/version
  bin=$(cache)
  mkdir -p "$bin"
  exec 8>"$bin/lock" && flock 8
  cd "$HERE"
  if ! built; then
    echo "building Kubernetes, etcd and metrics-server into $bin: about 15 minutes of processor time, once ..." >&2
    GOBIN=$bin go install -trimpath ${MC_CLUSTER_BUILD_FLAGS:-} -ldflags "-s -w -X $package.gitVersion=$VERSION -X $package.gitMajor=1 -X $package.gitMinor=36" tool
    mv "$bin/server" "$bin/etcd"
    touch "$bin/built"
  fi
  go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$bin/" ./node ./dns
  exec 8>&-
}

# --- certificates and settings ---

sign() { # sign NAME SUBJECT CA [SAN]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "$2" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -days 30 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n'; [ -z "${4:-}" ] || echo "subjectAltName=$4")
}

certificates() (
  mkdir -p "$STATE/pki" && cd "$STATE/pki"
  for ca in ca front; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$ca" -keyout $ca.key -out $ca.crt
  done
  sign apiserver /CN=kube-apiserver ca "IP:$API,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes.default.svc"
  sign admin /O=system:masters/CN=admin ca
  sign kubelet-client /O=system:masters/CN=apiserver-kubelet-client ca
  sign front-client /CN=front-proxy-client front
  sign node /CN=node ca "$(seq -f 'IP:10.88.%g.1' -s , 9)"
  openssl genrsa -out sa.key 2048
  cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$API:6443", certificate-authority: $STATE/pki/ca.crt}}]
users: [{name: admin, user: {client-certificate: $STATE/pki/admin.crt, client-key: $STATE/pki/admin.key}}]
contexts: [{name: test, context: {cluster: test, user: admin, namespace: default}}]
current-context: test
END
) 2>>"$STATE/openssl.log"

# image NAME:TAG TREE [ENTRYPOINT...]: laid out as the service's own image, of a tree as it stands, with
# its .venv. The tree itself may lie where a pod mounts a volume, such as /tmp.
image() {
  local name=$1 tree
  tree=$(cd "$2" && pwd)
  shift 2
  [ $# -gt 0 ] || set -- python -m mc_platform serve
  mkdir -p "$STATE/images"
  "$tree/.venv/bin/python" - "$tree" "$@" >"$STATE/images/${name//\//%}.json" <<'END'
import compileall, json, sys
tree, *entrypoint = sys.argv[1:]
compileall.compile_dir(f"{tree}/src", quiet=2)  # a pod cannot keep what it compiles
place = "/opt/mc-platform"
mounts = {f"{tree}/{part}": f"{place}/{part.removeprefix('.venv/')}"
          for part in (".venv/bin", ".venv/lib", ".venv/pyvenv.cfg", "src", "policies")}
if sys.base_prefix != "/usr":
    mounts[sys.base_prefix] = sys.base_prefix
env = {"PATH": f"{place}/bin:/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
       "PYTHONPATH": f"{place}/src", "PYTHONSAFEPATH": "1", "HOME": "/tmp", "MC_HOST": "0.0.0.0", "MC_POLICY_DIR": f"{place}/policies"}
json.dump({"entrypoint": entrypoint, "user": 65532, "workdir": place, "env": env,
           "mounts": [{"from": a, "to": b} for a, b in mounts.items()]}, sys.stdout)
END
}

# --- processes ---

# The process that made the cluster's namespaces: its child is the first one in them, and dies with it
maker() { cat "$STATE/maker.pid" 2>/dev/null; }

runs() { grep -q "$SELF" "/proc/$(maker)/cmdline" 2>/dev/null; }

enter() {
  local of
  of=/proc/$(maker)/ns
  nsenter --net="$of/net" --mount="$of/mnt" --pid="$of/pid_for_children" -- "$@"
}

start() { # start NAME COMMAND...: in the background, below the first process of the cluster
  local name=$1
  shift
  # shellcheck disable=SC2016 # the inner shell is to expand it
  setsid --fork bash -c 'echo $$ >"$0.pid"; exec "$@"' "$STATE/$name" "$@" >"$STATE/$name.log" 2>&1 </dev/null
}

group() { mkdir -p "$(cgroups)/$NAME/$1" && echo $$ >"$(cgroups)/$NAME/$1/cgroup.procs"; }

init() { # the first process of the cluster: it reaps
  group plane
  while sleep infinity; do :; done
}

plane() { # inside: the network and the control plane
  local bin=$STATE/bin pki=$STATE/pki
  group plane
  ip link set lo up
  ip addr add $API/30 dev api
  ip link set api up
  # kube-proxy redirects after routing: what runs beside the pods needs a route to services all the same
  ip route add $SERVICES dev api src $API
  echo 1 >/proc/sys/net/ipv4/ip_forward
  start etcd "$bin/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level error
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --advertise-address=$API --secure-port=6443 --service-cluster-ip-range=$SERVICES \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/sa.key" \
    --service-account-signing-key-file="$pki/sa.key" --authorization-mode=RBAC --allow-privileged=true \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/kubelet-client.crt" \
    --kubelet-client-key="$pki/kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --requestheader-client-ca-file="$pki/front.crt" --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --enable-aggregator-routing=true \
    --proxy-client-cert-file="$pki/front-client.crt" --proxy-client-key-file="$pki/front-client.key" \
    --default-not-ready-toleration-seconds=10 --default-unreachable-toleration-seconds=10
  until "$bin/kubectl" get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
  start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig="$KUBECONFIG" \
    --authentication-kubeconfig="$KUBECONFIG" --authorization-kubeconfig="$KUBECONFIG" \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials \
    --leader-elect=false --bind-address=127.0.0.1 --node-monitor-period=1s --node-monitor-grace-period=12s \
    --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-cpu-initialization-period=20s \
    --horizontal-pod-autoscaler-initial-readiness-delay=5s
  start kube-scheduler "$bin/kube-scheduler" --kubeconfig="$KUBECONFIG" --authentication-kubeconfig="$KUBECONFIG" \
    --authorization-kubeconfig="$KUBECONFIG" --leader-elect=false --bind-address=127.0.0.1
  start kube-proxy "$bin/kube-proxy" --kubeconfig="$KUBECONFIG" --proxy-mode=nftables --cluster-cidr=$PODS \
    --hostname-override=node-1 --conntrack-max-per-core=0 --nodeport-addresses=primary
  start metrics-server "$bin/metrics-server" --kubeconfig="$KUBECONFIG" \
    --authentication-kubeconfig="$KUBECONFIG" --authorization-kubeconfig="$KUBECONFIG" \
    --secure-port=4443 --bind-address=0.0.0.0 --cert-dir="$STATE/metrics" --metric-resolution=10s --kubelet-request-timeout=5s \
    --kubelet-use-node-status-port --kubelet-preferred-address-types=InternalIP \
    --kubelet-certificate-authority="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key"
}

node() { # inside: begin node N, in mount and PID namespaces of its own
  group plane # where whoever keeps a node's namespaces stays
  ip addr replace "10.88.$1.1/32" dev lo
  start "node-$1" unshare --mount --pid --fork --kill-child --mount-proc "$SELF" _node_group "$1"
}

node_group() { # its control group is the root of what it sees of control groups
  group "node-$1"
  exec unshare --cgroup "$SELF" _node_main "$1"
}

node_main() { # the first process of a node: a kubelet, and the runtime under it
  local dir=$STATE/node-$1 address=10.88.$1.1 sysctl
  for sysctl in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do # a kubelet would set them for the machine
    mkdir -p "$dir/sysctl/$(dirname "${sysctl%=*}")"
    echo "${sysctl#*=}" >"$dir/sysctl/${sysctl%=*}"
    mount --bind "$dir/sysctl/${sysctl%=*}" "/proc/sys/${sysctl%=*}"
  done
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  for place in /run /var/lib /var/log; do mount -t tmpfs tmpfs $place; done
  mkdir -p /run/netns /run/containers /var/lib/kubelet /var/log/pods
  cat >"$dir/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
readOnlyPort: 0
healthzPort: 0
tlsCertFile: $STATE/pki/node.crt
tlsPrivateKeyFile: $STATE/pki/node.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: ""
containerRuntimeEndpoint: unix:///run/runtime.sock
cgroupsPerQOS: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
failSwapOn: false
syncFrequency: 5s
nodeStatusUpdateFrequency: 5s
nodeLeaseDurationSeconds: 8
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
END
  "$STATE/bin/node" --name="node-$1" --socket=/run/runtime.sock --state=/run/containers --images="$STATE/images" \
    --cgroup=/sys/fs/cgroup --address="$address" --pod-cidr="10.88.$1.0/24" --kubeconfig="$KUBECONFIG" &
  until [ -S /run/runtime.sock ]; do sleep 0.05; done
  "$STATE/bin/kubelet" --config="$dir/kubelet.yaml" --kubeconfig="$KUBECONFIG" --hostname-override="node-$1" --node-ip="$address" \
    --node-labels="topology.kubernetes.io/zone=zone-$1" &
  wait -n # when either ends, the node has failed
}

# --- what a person calls ---

up() {
  local n name
  ! runs || fail "it runs already: make cluster-down takes it away"
  needs
  build
  down
  mkdir -p "$STATE/images"
  ln -s "$(cache)" "$STATE/bin"
  certificates
  image agent-workbench:local "$TREE"
  local version
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$TREE/pyproject.toml")
  for name in agent-workbench agent-workbench-operations; do
    cp "$STATE/images/agent-workbench:local.json" "$STATE/images/$name:$version.json"
  done
  image python:local "$TREE" python
  echo "{\"entrypoint\": [\"$(cache)/dns\"], \"user\": 65532, \"mounts\": [{\"from\": \"$(cache)\", \"to\": \"$(cache)\"}]}" >"$STATE/images/cluster-dns:local.json"
  setsid unshare --net --mount --pid --fork --kill-child --mount-proc "$SELF" _init >"$STATE/init.log" 2>&1 </dev/null &
  echo $! >"$STATE/maker.pid"
  until [ "$(cat "$(cgroups)/$NAME/plane/cgroup.procs" 2>/dev/null)" ]; do sleep 0.02; done
  ip link add $NAME type veth peer name api netns "$(maker)"
  ip addr add $HOST/30 dev $NAME
  ip link set $NAME up
  ip route add $PODS via $API dev $NAME
  ip route add $SERVICES via $API dev $NAME
  timeout 90 "$SELF" _enter _plane || { tail -n 3 "$STATE"/*.log >&2; fail "the control plane did not start"; }
  for n in 1 2; do enter "$SELF" _node "$n"; done
  "$STATE/bin/kubectl" apply -f "$HERE/addons.yaml" >/dev/null
  until [ "$("$STATE/bin/kubectl" get nodes -o name | wc -l)" = 2 ]; do sleep 0.2; done
  "$STATE/bin/kubectl" wait --for=condition=Ready node --all --timeout=60s >/dev/null
  "$STATE/bin/kubectl" -n kube-system rollout status deployment/cluster-dns --timeout=60s >/dev/null
  echo "the cluster runs: export KUBECONFIG=$KUBECONFIG PATH=$STATE/bin:\$PATH"
}

down() {
  ! runs || kill -9 "$(maker)"
  while [ -e "/sys/class/net/$NAME" ]; do # it is refused while the kernel takes the other end away
    ip link del $NAME 2>/dev/null || sleep 0.05
  done
  for _ in $(seq 200); do # a group can go when its processes are gone for good
    [ -d "$(cgroups)/$NAME" ] || break
    find "$(cgroups)/$NAME" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
  done
  rm -rf "$STATE"
}

crash() {
  runs || fail "no cluster runs"
  [ -e "$STATE/node-$1.pid" ] || fail "there is no node $1"
  enter kill -9 "$(cat "$STATE/node-$1.pid")" || fail "node $1 is down already"
  enter nft delete table ip "policy-node-$1" 2>/dev/null || true
}

command=${1:-}
shift || true
case $command in
  needs | built | build | up | down | crash | image) "$command" "$@" ;;
  node) enter "$SELF" _node "$@" ;;
  kubectl) exec "$STATE/bin/kubectl" "$@" ;;
  _enter) enter "$SELF" "$@" ;;
  _init | _plane | _node | _node_group | _node_main) "${command#_}" "$@" ;;
  *) sed -n '5,12s/^# *//p' "$SELF" >&2; exit 2 ;;
esac
