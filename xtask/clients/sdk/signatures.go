package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ovh/okms-sdk-go/types"
)

var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

func sha384(text string) []byte {
	digest := sha512.Sum384([]byte(text))
	return digest[:]
}

func hashed(hash crypto.Hash, text []byte) []byte {
	state := hash.New()
	state.Write(text)
	return state.Sum(nil)
}

// isSigned says whether this is the signature of the text by the private half of this key, by the standard library alone.
func isSigned(public any, alg types.DigitalSignatureAlgorithms, text []byte, signature string) bool {
	raw, err := base64.StdEncoding.DecodeString(signature)
	return err == nil && isSignedRaw(public, alg, text, raw)
}

func isSignedRaw(public any, alg types.DigitalSignatureAlgorithms, text, raw []byte) bool {
	hash := hashes[string(alg[2:])]
	digest := hashed(hash, text)
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		half := (key.Params().BitSize + 7) / 8
		if alg[:2] != "ES" || len(raw) != 2*half {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:]))
	case *rsa.PublicKey:
		if alg[:2] == "RS" {
			return rsa.VerifyPKCS1v15(key, hash, digest, raw) == nil
		}
		return alg[:2] == "PS" && rsa.VerifyPSS(key, hash, digest, raw, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return false
}

// signer is a pair of the service, and the algorithms that are its own.
type signer struct {
	name string
	id   uuid.UUID
	algs []types.DigitalSignatureAlgorithms
}

// pairs makes one of each kind that signs.
func (s *session) pairs() []signer {
	var made []signer
	for name, alg := range map[types.Curves]types.DigitalSignatureAlgorithms{types.P256: types.ES256, types.P384: types.ES384, types.P521: types.ES512} {
		id := of(s.GenerateECKeyPair(ctx, s.domain, name, "signs", "", signs...)).must("a pair of a curve").Id
		made = append(made, signer{string(name), id, []types.DigitalSignatureAlgorithms{alg}})
	}
	rsas := []types.DigitalSignatureAlgorithms{types.RS256, types.RS384, types.RS512, types.PS256, types.PS384, types.PS512}
	for _, size := range []types.KeySizes{types.N2048, types.N3072, types.N4096} {
		id := of(s.GenerateRSAKeyPair(ctx, s.domain, size, "signs", "", signs...)).must("an RSA pair").Id
		made = append(made, signer{fmt.Sprintf("RSA %d", size), id, rsas})
	}
	return made
}

// signatures are made and verified by the service, of texts and of digests, and verified here.
func signatures(s *session) {
	pairs := s.pairs()
	known := map[types.DigitalSignatureAlgorithms]bool{}
	for _, pair := range pairs {
		public := of(s.ExportPublicKey(ctx, s.domain, pair.id)).must(pair.name + ": public half")
		for _, alg := range pair.algs {
			known[alg] = true
			for _, preHashed := range []bool{false, true} {
				for _, format := range []*types.SignatureFormats{nil, p(types.Raw)} {
					s.signed(pair, public, alg, preHashed, format)
				}
			}
			for _, format := range []types.SignatureFormats{types.Jws, types.Jwt} {
				s.asToken(pair, public, alg, format)
			}
		}
		alien := types.ES256
		if pair.algs[0] == types.ES256 {
			alien = types.RS256
		}
		of(s.Sign(ctx, s.domain, pair.id, nil, alien, false, []byte("text"))).refused(pair.name+": an algorithm of another kind", 400, badArgument)
		of(s.Sign(ctx, s.domain, pair.id, nil, pair.algs[0], true, noise(7))).refused(pair.name+": a digest that is none", 400, badArgument)
		of(s.Sign(ctx, s.domain, pair.id, nil, pair.algs[0], false, noise(4097))).refused(pair.name+": 4097 bytes", 400, badArgument)
		of(s.Encrypt(ctx, s.domain, pair.id, "", noise(1))).refused(pair.name+": encrypts nothing", 400, notOfTheKey)
	}
	same("algorithms", len(known), 9)
}

func (s *session) signed(pair signer, public any, alg types.DigitalSignatureAlgorithms, preHashed bool, format *types.SignatureFormats) {
	what := fmt.Sprintf("%s, %s, digest: %v", pair.name, alg, preHashed)
	text, other := []byte("this is signed"), []byte("this is not signed")
	sent, others := text, other
	if preHashed {
		hash := hashes[string(alg[2:])]
		sent, others = hashed(hash, text), hashed(hash, other)
	}
	signature := of(s.Sign(ctx, s.domain, pair.id, format, alg, preHashed, sent)).must(what)
	holds(what+": it is signed", isSigned(public, alg, text, signature))
	holds(what+": and nothing else is", !isSigned(public, alg, other, signature))
	verify := func(alg types.DigitalSignatureAlgorithms, preHashed bool, text []byte, signature string) answer[bool] {
		return of(s.Verify(ctx, s.domain, pair.id, alg, preHashed, text, signature))
	}
	holds(what+": the service says so", verify(alg, preHashed, sent, signature).must(what))
	holds(what+": the service knows no other text", !verify(alg, preHashed, others, signature).must(what))
	raw := of(base64.StdEncoding.DecodeString(signature)).must(what)
	raw[len(raw)/3] ^= 4
	holds(what+": nor a changed signature", !verify(alg, preHashed, sent, base64.StdEncoding.EncodeToString(raw)).must(what))
	if preHashed {
		holds(what+": a digest is that of the text", verify(alg, false, text, signature).must(what))
	}
	if len(pair.algs) > 1 {
		// RS256 is not what PS256 is, and so on.
		twin := types.DigitalSignatureAlgorithms(map[string]string{"RS": "PS", "PS": "RS"}[string(alg[:2])] + string(alg[2:]))
		holds(what+": nor its twin", !verify(twin, preHashed, sent, signature).must(what))
	} else {
		verify(types.RS256, false, text, signature).refused(what+": an algorithm of another kind", 400, badArgument)
	}
}

// asToken has the service sign a JWS or JWT.
func (s *session) asToken(pair signer, public any, alg types.DigitalSignatureAlgorithms, format types.SignatureFormats) {
	what := fmt.Sprintf("%s, %s as %s", pair.name, alg, format)
	text := []byte(`{"sub":"somebody"}`)
	token := of(s.Sign(ctx, s.domain, pair.id, &format, alg, false, text)).must(what)
	parts := strings.Split(token, ".")
	same(what+": parts", len(parts), 3)
	var head map[string]string
	done(what+": head", json.Unmarshal(of(base64url.DecodeString(parts[0])).must(what+": head"), &head))
	wanted := map[string]string{"alg": string(alg), "kid": pair.id.String()}
	if format == types.Jwt {
		wanted["typ"] = "JWT"
	}
	same(what+": head", head, wanted)
	same(what+": text", string(of(base64url.DecodeString(parts[1])).must(what+": text")), string(text))
	raw := of(base64url.DecodeString(parts[2])).must(what + ": signature")
	holds(what+": it is signed", isSignedRaw(public, alg, []byte(parts[0]+"."+parts[1]), raw))
	holds(what+": the service says so", of(s.Verify(ctx, s.domain, pair.id, alg, false, text, token)).must(what))
	holds(what+": of no other text", !of(s.Verify(ctx, s.domain, pair.id, alg, false, []byte(`{"sub":"another"}`), token)).must(what))
	of(s.Sign(ctx, s.domain, pair.id, &format, alg, true, hashed(hashes[string(alg[2:])], text))).refused(what+": of a digest", 400, badArgument)
}

// signers are pairs of the service for what takes a private key of Go: certificates, requests, lists, and TLS.
func signers(s *session) {
	for _, pair := range s.pairs() {
		key := of(s.NewSigner(ctx, s.domain, pair.id)).must(pair.name + ": signer")
		public := of(s.ExportPublicKey(ctx, s.domain, pair.id)).must(pair.name + ": public half").(interface{ Equal(crypto.PublicKey) bool })
		holds(pair.name+": its public half", public.Equal(key.Public()))
		for name, hash := range hashes {
			what := pair.name + ", signer, SHA-" + name
			digest, other := hashed(hash, []byte("text")), hashed(hash, []byte("other"))
			if _, ok := public.(*ecdsa.PublicKey); ok {
				if hash != (map[string]crypto.Hash{"P-256": crypto.SHA256, "P-384": crypto.SHA384, "P-521": crypto.SHA512})[pair.name] {
					of(key.Sign(rand.Reader, digest, hash)).refused(what, 400, badArgument)
					quirks["NewSigner of a curve signs with the hash that goes with the curve alone; crypto.Signer knows no such bound"] = true
					continue
				}
				signature := of(key.Sign(rand.Reader, digest, hash)).must(what)
				holds(what, ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest, signature))
				holds(what+": nothing else", !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), other, signature))
				continue
			}
			signature := of(key.Sign(rand.Reader, digest, hash)).must(what)
			done(what, rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), hash, digest, signature))
			bad(what+": nothing else", rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), hash, other, signature))
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
			signature = of(key.Sign(rand.Reader, digest, options)).must(what + ", PSS")
			done(what+", PSS", rsa.VerifyPSS(public.(*rsa.PublicKey), hash, digest, signature, options))
			bad(what+", PSS: nothing else", rsa.VerifyPSS(public.(*rsa.PublicKey), hash, other, signature, options))
			of(key.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: 7, Hash: hash})).bad(what + ", PSS with another salt")
		}
		of(key.Sign(rand.Reader, noise(20), crypto.SHA1)).bad(pair.name + ": SHA-1")
		authority(pair, key)
	}
}

// authority is a CA whose key is in the service.
func authority(pair signer, key crypto.Signer) {
	algorithms := map[string][]x509.SignatureAlgorithm{
		"P-256": {x509.ECDSAWithSHA256}, "P-384": {x509.ECDSAWithSHA384}, "P-521": {x509.ECDSAWithSHA512},
	}[pair.name]
	if algorithms == nil {
		algorithms = []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS}
	}
	for _, algorithm := range algorithms {
		what := fmt.Sprintf("%s, %s", pair.name, algorithm)
		now := time.Now()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			DNSNames: []string{"ca.example.com"}, SignatureAlgorithm: algorithm, SubjectKeyId: []byte{1, 2, 3},
		}
		der := of(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)).must(what + ": CA")
		ca := of(x509.ParseCertificate(der)).must(what + ": CA")
		done(what+": the CA has signed itself", ca.CheckSignatureFrom(ca))
		same(what+": algorithm", ca.SignatureAlgorithm, algorithm)

		request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "b"}, SignatureAlgorithm: algorithm}
		asked := of(x509.ParseCertificateRequest(of(x509.CreateCertificateRequest(rand.Reader, request, key)).must(what + ": request"))).must(what)
		done(what+": request", asked.CheckSignature())

		list := &x509.RevocationList{
			Number: big.NewInt(2), ThisUpdate: now, NextUpdate: now.Add(time.Hour), SignatureAlgorithm: algorithm,
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(77), RevocationTime: now}},
		}
		revoked := of(x509.ParseRevocationList(of(x509.CreateRevocationList(rand.Reader, list, ca, key)).must(what + ": list"))).must(what)
		done(what+": list", revoked.CheckSignatureFrom(ca))

		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "c"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
			DNSNames: []string{"c.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, SignatureAlgorithm: algorithm,
		}
		der = of(x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)).must(what + ": certificate")
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		signed := of(x509.ParseCertificate(der)).must(what + ": certificate")
		of(signed.Verify(x509.VerifyOptions{Roots: roots, DNSName: "c.example.com"})).must(what + ": certificate holds")
		torn := bytes.Clone(der)
		torn[len(torn)-5] ^= 1
		forged := of(x509.ParseCertificate(torn)).must(what + ": forged certificate")
		bad(what+": a forged certificate does not hold", forged.CheckSignatureFrom(ca))

		serves := tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key, Leaf: signed}
		done(what+": TLS", greeted(&tls.Config{Certificates: []tls.Certificate{serves}}, &tls.Config{RootCAs: roots, ServerName: "c.example.com"}))
	}
}

// greeted has a server and a client shake hands.
func greeted(server, client *tls.Config) error {
	here, there := net.Pipe()
	defer func() { _, _ = here.Close(), there.Close() }()
	answered := make(chan error, 1)
	go func() { answered <- tls.Server(there, server).Handshake() }()
	if err := tls.Client(here, client).Handshake(); err != nil {
		return err
	}
	return <-answered
}
