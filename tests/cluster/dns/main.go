// Command dns answers for the names of a test cluster's Services, in a pod, as CoreDNS does on a
// real one: A records of cluster addresses, of the ready endpoints of headless Services, and CNAMEs of
// external names. Other domains do not exist.
package main

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
)

const (
	domain = ".svc.cluster.local."
	ttl    = 5
)

type directory struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0)
	d := directory{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	factory.Start(nil)
	factory.WaitForCacheSync(nil)
	packets, err := net.ListenPacket("udp", ":53")
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", ":53")
	if err != nil {
		log.Fatal(err)
	}
	log.Print("serving cluster.local")
	go d.streams(listener)
	query := make([]byte, 4096)
	for {
		n, from, err := packets.ReadFrom(query)
		if err != nil {
			log.Print(err)
			os.Exit(1)
		}
		if answer := d.answer(query[:n]); answer != nil {
			_, _ = packets.WriteTo(answer, from)
		}
	}
}

func (d directory) streams(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			var size [2]byte
			for {
				if _, err := io.ReadFull(conn, size[:]); err != nil {
					return
				}
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(conn, query); err != nil {
					return
				}
				answer := d.answer(query)
				if answer == nil {
					return
				}
				if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
					return
				}
			}
		}()
	}
}

// answer replies to one question; nil says that it was none.
func (d directory) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || m.Response || len(m.Questions) != 1 {
		return nil
	}
	question := m.Questions[0]
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired},
		Questions: m.Questions}
	bodies, exists := d.look(strings.ToLower(question.Name.String()))
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, body := range bodies {
		_, alias := body.(*dnsmessage.CNAMEResource)
		if alias || question.Type == dnsmessage.TypeA {
			reply.Answers = append(reply.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body})
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// look finds what NAME.NAMESPACE.svc.cluster.local. stands for.
func (d directory) look(full string) (bodies []dnsmessage.ResourceBody, exists bool) {
	short, ok := strings.CutSuffix(full, domain)
	name, namespace, two := strings.Cut(short, ".")
	if !ok || !two {
		return nil, false
	}
	service, err := d.services.Services(namespace).Get(name)
	if err != nil {
		return nil, false
	}
	switch {
	case service.Spec.Type == core.ServiceTypeExternalName:
		if target, err := dnsmessage.NewName(strings.TrimSuffix(service.Spec.ExternalName, ".") + "."); err == nil {
			return []dnsmessage.ResourceBody{&dnsmessage.CNAMEResource{CNAME: target}}, true
		}
		return nil, true
	case service.Spec.ClusterIP != core.ClusterIPNone:
		return records([]string{service.Spec.ClusterIP}), true
	}
	all, _ := d.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{"kubernetes.io/service-name": name}))
	for _, slice := range all {
		for _, endpoint := range slice.Endpoints {
			if ready := endpoint.Conditions.Ready; ready == nil || *ready || service.Spec.PublishNotReadyAddresses {
				bodies = append(bodies, records(endpoint.Addresses)...)
			}
		}
	}
	return bodies, len(bodies) > 0
}

func records(addresses []string) []dnsmessage.ResourceBody {
	var bodies []dnsmessage.ResourceBody
	for _, a := range addresses {
		if parsed, err := netip.ParseAddr(a); err == nil && parsed.Is4() {
			bodies = append(bodies, &dnsmessage.AResource{A: parsed.As4()})
		}
	}
	return bodies
}
