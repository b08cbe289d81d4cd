package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	okms "github.com/ovh/okms-sdk-go"
)

// heard is what a client tells its logger.
type heard struct {
	lock  sync.Mutex
	lines int
}

func (h *heard) told(string, ...any) {
	h.lock.Lock()
	h.lines++
	h.lock.Unlock()
}

func (h *heard) Error(text string, more ...any) { h.told(text, more...) }
func (h *heard) Info(text string, more ...any)  { h.told(text, more...) }
func (h *heard) Debug(text string, more ...any) { h.told(text, more...) }
func (h *heard) Warn(text string, more ...any)  { h.told(text, more...) }

// transport is how the client comes to the service, in each way that it has.
func transport(s *session) {
	same("protocols", len(s.calls.protocols), 1)
	holds("it is HTTP/2", s.calls.protocols["HTTP/2.0"] > 0)
	config := s.trust()
	bearer := ""
	if s.tokens == "" {
		config = s.certificate()
	} else {
		bearer = "Bearer " + s.token("allowed")
	}
	asks := func(what string, client *okms.Client) {
		if bearer != "" {
			client = client.WithCustomHeader("Authorization", bearer)
		}
		listed := of(client.ListServiceKeys(ctx, s.domain, nil, nil, nil)).must(what)
		holds(what+": there are keys", len(listed.ObjectsList) > 0)
	}
	// HTTP/1.1, over a client of the caller's.
	seen := &calls{next: &http.Transport{TLSClientConfig: config.Clone()}, made: map[string]int{}, protocols: map[string]int{}}
	asks("a client of the caller's", of(okms.NewRestAPIClientWithHttp(s.address, &http.Client{Transport: seen})).must("a client of the caller's"))
	same("a client of the caller's: protocols", seen.protocols, map[string]int{"HTTP/1.1": 1})

	logger := &heard{}
	asks("with a logger", of(okms.NewRestAPIClient(s.address, okms.ClientConfig{TlsCfg: config.Clone(), Logger: logger})).must("with a logger"))
	holds("the logger was told", logger.lines > 0)

	// A header of one request alone: who asks.
	bare := s.other(s.trust(), "")
	of(bare.GetSecretConfig(ctx, s.domain)).refused("without a header of its own", 401, unauthorized)
	if bearer != "" {
		of(bare.GetSecretConfig(okms.WithContextHeader(ctx, "Authorization", bearer), s.domain)).must("with a header of its own")
	} else {
		nonsense := okms.WithContextHeader(ctx, "Authorization", "Bearer nonsense")
		of(bare.GetSecretConfig(nonsense, s.domain)).refused("with a header of its own", 401, unauthorized)
	}

	// What a request and its answer are is written down as they are.
	var written bytes.Buffer
	own := os.Stderr
	reads, writes, err := os.Pipe()
	done("a pipe", err)
	said := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(reads)
		said <- all
	}()
	os.Stderr = writes
	traced := of(okms.NewRestAPIClient(s.address, okms.ClientConfig{TlsCfg: config.Clone(), Middleware: okms.DebugTransport(&written)}))
	if bearer != "" {
		traced.value.SetCustomHeader("Authorization", bearer)
	}
	_, err = traced.value.GetSecretConfig(ctx, s.domain)
	os.Stderr = own
	done("the pipe ends", writes.Close())
	elsewhere := <-said
	done("what is written down", err)
	trace := written.String()
	if trace == "" {
		trace = string(elsewhere)
		quirks["DebugTransport writes to stderr, whatever it was given"] = true
	}
	for _, word := range []string{"GET /api/" + s.domain.String() + "/v1/secret/config", "200 OK", "request_id"} {
		holds("what is written down: "+word, strings.Contains(trace, word))
	}

	// Whom it does not know it says nothing to.
	strange := &tls.Config{RootCAs: x509.NewCertPool()}
	of(s.other(strange, "").GetSecretConfig(ctx, s.domain)).bad("a server of an authority that is not known")
	once := okms.ClientConfig{TlsCfg: config.Clone(), Retry: &okms.RetryConfig{}}
	nowhere := of(okms.NewRestAPIClient("https://127.0.0.1:1", once)).must("a client of nothing")
	of(nowhere.GetSecretConfig(ctx, s.domain)).bad("where nobody listens")
}
