// Command node is the container runtime under a real kubelet of a test cluster: it speaks the
// Container Runtime Interface, and what it runs are processes of this machine, each pod in network
// and process namespaces of its own. It is test equipment: an image is a name in a catalogue whose
// root is a throw-away overlay of the machine's, so that nothing is hidden from a pod, and limits of
// memory and CPU are not enforced.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"google.golang.org/grpc"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == enterCommand {
		fmt.Fprintln(os.Stderr, "container start:", enter())
		os.Exit(125)
	}
	name := flag.String("name", "", "name of the node")
	socket := flag.String("socket", "", "where the kubelet calls")
	state := flag.String("state", "", "directory for what containers write")
	images := flag.String("images", "", "directory of the catalogue: NAME:TAG.json")
	cgroup := flag.String("cgroup", "", "control group (version 2) for the containers")
	address := flag.String("address", "", "address of the node, gateway of its pods")
	pods := flag.String("pod-cidr", "", "addresses of its pods")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server, for its NetworkPolicies")
	flag.Parse()
	r := &engine{
		images: catalogue(*images), state: *state, cgroup: *cgroup,
		network:   newNetwork(netip.MustParseAddr(*address), netip.MustParsePrefix(*pods)),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
	}
	log.Fatal(serve(r, *name, *socket, *kubeconfig))
}

// serve answers the kubelet until something breaks.
func serve(r *engine, name, socket, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	r.firewall = newFirewall(name)
	go r.firewall.run(context.Background(), client)

	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	options := streaming.DefaultConfig
	options.BaseURL = &url.URL{Scheme: "http", Host: streams.Addr().String()}
	if r.streams, err = streaming.NewServer(options, streamer{r}); err != nil {
		return err
	}
	go func() { log.Fatal(http.Serve(streams, r.streams)) }()

	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, r)
	cri.RegisterImageServiceServer(server, imageService{catalogue: r.images})
	return server.Serve(listener)
}
